"""XML through a gateway on servers that are built with libxml: benign results are the server's,
masked columns stay masked.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sallyport.demo.issuer import DevIssuer
from tests.conftest import Servers
from tests.sql.live import Live, live
from tests.support.postgres import DEBIAN

SCHEMA = """
create table docs (id int primary key, title text, born date, body xml, secret xml, ssn text,
  note text, hidden date);
insert into docs values
 (1, 'one', '2020-02-29', '<shop><item n="1">pen &amp; ink</item><item n="2">cup</item></shop>',
  '<p><ssn>CANARY-111</ssn></p>', 'CANARY-111', 'CANARY <b>note</b>', '1987-06-05'),
 (2, 'two', null, '<shop xmlns:x="urn:x"><x:item n="3">hat</x:item></shop>',
  '<p><ssn>CANARY-222</ssn></p>', 'CANARY-222', 'CANARY not < wellformed', 'infinity'),
 (3, null, null, null, null, null, null, null);
grant select on docs to public;
"""
POLICY = """\
version: 1
rules:
  - name: read
    subjects: {groups: [claude-postgres]}
    targets: [shop, twin]
    allow: [read, copy-out]
    relations: ["public.*"]
masks:
  - {columns: [public.docs.secret, public.docs.ssn, public.docs.note, public.docs.hidden],
     with: redact}
"""


OTHER = {
    "<p><ssn>CANARY-111</ssn></p>": "<p/>",
    "<p><ssn>CANARY-222</ssn></p>', 'CANARY-222'": "text only', null",
    "'CANARY-111'": "'/'",
    "CANARY <b>note</b>": "& <",
    "CANARY not < wellformed": "<ok/>",
    "'infinity'": "null",
    "1987-06-05": "infinity",
}


@pytest.fixture(scope="module", params=["16", DEBIAN])
def xml(request: pytest.FixtureRequest, servers: Servers, issuer: DevIssuer) -> Iterator[Live]:
    with live(servers.get(request.param), issuer, SCHEMA, POLICY, "xml_live", OTHER) as running:
        yield running


BENIGN = """
select id, xmlelement(name doc, xmlattributes(id, title as t), title, born) from docs order by id;
select xmlforest(id, title as "the title", born) from docs order by id;
select xmlagg(xmlelement(name t, title) order by id desc) from docs;
select xmlagg(body order by id) filter (where id < 3) from docs;
select xmlconcat(xmlelement(name a), xmlelement(name b, id)) from docs order by id;
select xmlcomment('hello'), xmlpi(name php, 'echo');
select xmlroot(body, version '1.0', standalone yes), xmlroot(body, version no value) from docs
  order by id;
select xmlparse(document '<a>1</a>'), xmlparse(content 'x<a/>y' preserve whitespace);
select xmlserialize(content body as text), xmlserialize(document '<a/>'::xml as varchar(10))
  from docs order by id;
select xpath('/shop/item/text()', body), xpath('//x:item/@n', body, array[array['x','urn:x']])
  from docs order by id;
select xpath_exists('/shop/item', body), xmlexists('//item' passing by ref body) from docs
  order by id;
select xml_is_well_formed('<a>'), xml_is_well_formed_document('<a/>'),
  xml_is_well_formed_content('x');
select body is document, body is not document from docs order by id;
select d.id, t.* from docs d, xmltable('/shop/item' passing d.body columns n int path '@n',
  what text path '.',
  nr for ordinality, otherwise text path 'none' default 'nothing') t order by 1, 2;
select t.* from docs d, xmltable(xmlnamespaces('urn:x' as x), '/shop/x:item' passing d.body
  columns n int path '@n' not null, what text path '.') t;
select t.* from docs d cross join lateral xmltable('/shop/item' passing d.body
  columns n int path '@n', nr int path 'zz' default d.id + 5) t order by 1;
select t.* from docs d, xmltable('//item' passing d.body columns what xml path '.') t
  order by t.what::text;
select count(*) from docs, xmltable('//item' passing body columns x xml path '.');
select body::text, title::text from docs order by id;
select '<a/>'::xml, cast('x<b/>' as xml);
select id from docs where xpath_exists('//item[@n="1"]', body);
select unnest(xpath('//item/text()', body))::text from docs order by 1;
select (xpath('//item/text()', body))[1]::text from docs order by 1
"""


@pytest.mark.parametrize("sql", BENIGN.strip().split(";\n"))
def test_benign_results_are_the_servers(xml: Live, sql: str) -> None:
    xml.compare(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select xmlparse(document '<a><b></a>')",
        "select 'x'::xml is document, '<a'::xml",
        "select xpath('//[', '<a/>')",
        (
            "select t.* from xmltable('/a/b' passing ('<a><b>x</b></a>'::xml) columns b int path"
            " '.') t"
        ),
        "select t.* from xmltable('/a' passing ('<a/>'::xml) columns n int path 'none' not null) t",
    ],
)
def test_errors_without_masked_columns_are_the_servers(xml: Live, sql: str) -> None:
    xml.compare_error(sql)


HOSTILE = """
select secret from docs order by id;
select xmlelement(name doc, ssn), xmlelement(name doc, xmlelement(name a, secret)) from docs;
select xmlelement(name doc, xmlattributes(ssn as s)) from docs;
select xmlelement(name doc, hidden) from docs;
select xmlforest(id, ssn) from docs order by id;
select xmlforest(hidden) from docs;
select xmlforest(docs) from docs;
select xmlagg(secret) from docs;
select xmlagg(xmlelement(name t, ssn)) from docs;
select xmlagg(body order by ssn) from docs;
select xmlconcat(secret, body) from docs;
select xmlcomment(ssn) from docs;
select xmlpi(name x, ssn) from docs;
select xmlroot(secret, version '1.0') from docs;
select xmlroot(body, version ssn) from docs;
select xmlparse(content ssn) from docs;
select xmlparse(document note) from docs where id = 2;
select xmlparse(document ssn) from docs;
select note::xml from docs where id = 2;
select cast(note as xml) from docs;
select xmlserialize(content secret as text) from docs;
select xmlserialize(document secret as text) from docs;
select secret::text from docs;
select xpath('//ssn/text()', secret) from docs;
select xpath('//ssn/text()', note::xml) from docs;
select xpath(ssn, body) from docs;
select xpath('//x:a', body, array[array['x', ssn]]) from docs;
select id from docs where xpath_exists('//ssn[text()="CANARY-1"]', secret);
select xpath_exists('//ssn[starts-with(text(),"C")]', secret) from docs;
select xmlexists('//ssn' passing secret) from docs;
select secret is document from docs;
select t.* from docs d, xmltable('//ssn' passing d.secret columns s text path '.') t;
select t.n from docs d, xmltable('//ssn' passing d.secret columns n for ordinality) t;
select count(*) from docs d, xmltable('//ssn[starts-with(text(),"C")]' passing d.secret
  columns n for ordinality) t;
select t.* from docs d, xmltable('//item' passing d.body
  columns s text path 'none' default d.ssn) t;
select t.* from docs d, xmltable(d.ssn passing d.body columns s text path '.') t;
select t.* from docs d, xmltable(xmlnamespaces(d.ssn as x), '//x:a' passing d.body
  columns s text path '.') t;
select t.* from docs d, xmltable('//item' passing d.body columns s text path d.ssn) t;
select query_to_xml('select ssn from docs', true, false, '');
select query_to_xml_and_xmlschema('select ssn from docs', true, false, '');
select query_to_xmlschema('select ssn from docs', true, false, '');
select table_to_xml('docs', true, false, '');
select table_to_xml_and_xmlschema('docs', true, false, '');
select table_to_xmlschema('docs', true, false, '');
select schema_to_xml('public', true, false, '');
select schema_to_xml_and_xmlschema('public', true, false, '');
select database_to_xml(true, false, '');
select cursor_to_xml('c', 1, true, false, '');
select xml_is_well_formed(note) from docs;
copy (select xmlforest(ssn), secret from docs) to stdout;
copy (select xmlelement(name a, note) from docs) to stdout (format csv);
select id from docs order by secret::text;
select xmlelement(name a, (select string_agg(ssn, ',') from docs));
select xmlparse(document title), ssn from docs
"""


@pytest.mark.parametrize("sql", HOSTILE.strip().split(";\n"))
def test_masked_columns_stay_masked(xml: Live, sql: str) -> None:
    said = xml.said(sql)
    for secret in (b"CANARY", b"111", b"222", b"wellformed", b"1987"):
        assert secret not in said, said
