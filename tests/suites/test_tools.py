"""Whole runs of tools that change schemas: Django's migrate, dbt build, an Alembic cycle, and
pg_dump with its script restored. Each runs directly first, then through a gateway that allows all;
what it leaves in the database must be the same.

Django, dbt and Alembic are the extra ``tools``: ``pip install 'sallyport[tools]'``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from sallyport.demo.issuer import DevIssuer
from tests.suites.__main__ import (
    DATABASE,
    PASSWORD,
    POLICY,
    ROLE,
    as_role,
    fresh_database,
    wait_for_login,
)
from tests.suites.projects import Place
from tests.support.gateway import AGENT, Gateway
from tests.support.postgres import Server
from tests.support.psql import client_program

pytestmark = pytest.mark.timeout(900)

#: A key that pg_dump makes for psql, and names of indexes that dbt makes of the time.
_OWN = re.compile(r"^\\(un)?restrict .*$|\b[0-9a-f]{32}\b", re.M)
_RELATIONS = """
select nspname, relname from pg_class c join pg_namespace n on n.oid = relnamespace
where relkind in ('r', 'm', 'v') and nspname !~ '^(pg_|information_schema)' order by 1, 2"""
Work = Callable[[Place], None]


@pytest.fixture
def leaves(issuer: DevIssuer, own_postgres: Server) -> Iterator[Callable[[Work], tuple[str, str]]]:
    """Does some work directly, then through a gateway; gives what each has left: the schema, and
    the number of rows of every table.
    """
    server = own_postgres
    fresh_database(server, "")
    running: list[Gateway] = []

    def do(work: Work) -> tuple[str, str]:
        work(Place(server.port, DATABASE, ROLE, PASSWORD))
        direct = _content(server)
        fresh_database(server, "")
        gateway = Gateway(issuer, {DATABASE: as_role(server, DATABASE)}, POLICY).start()
        running.append(gateway)
        wait_for_login(gateway)
        work(Place(gateway.port, DATABASE, "tool", gateway.token(AGENT)))
        return direct, _content(server)

    try:
        yield do
    finally:
        for gateway in running:
            gateway.stop()


def _content(server: Server) -> str:
    place = Place(server.port, DATABASE, ROLE, PASSWORD)
    schema = run(["pg_dump", "--schema-only"], place)
    with psycopg.connect(place.url) as db:
        counts = []
        for place_of, name in db.execute(_RELATIONS).fetchall():
            count = sql.SQL("select count(*) from {}").format(sql.Identifier(place_of, name))
            counts.append(f"{name} {(db.execute(count).fetchone() or (0,))[0]}")
    return "\n".join([_OWN.sub("", schema), *counts])


def run(command: list[str], place: Place, within: Path | None = None, **more: str) -> str:
    """A program of PostgreSQL, or of this Python, at a place; gives what it printed."""
    program = (
        [client_program(command[0])] if command[0] in ("pg_dump", "psql") else [sys.executable]
    )
    words = command[1:] if command[0] in ("pg_dump", "psql") else command
    ran = subprocess.run(
        [*program, *words],
        cwd=within,
        env={**os.environ, **place.environment, **more},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    return ran.stdout


def need(module: str) -> None:
    """Skip where a tool is missing."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install 'sallyport[tools]'")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# Django

_DJANGO = {
    "settings.py": """
import os
SECRET_KEY = "of this test"
INSTALLED_APPS = ["django.contrib." + name for name in (
    "admin", "auth", "contenttypes", "sessions", "sites", "messages", "flatpages", "redirects")]
INSTALLED_APPS += ["notes"]
SITE_ID = 1
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = ["django.contrib." + name for name in ("sessions.middleware.SessionMiddleware",
    "auth.middleware.AuthenticationMiddleware", "messages.middleware.MessageMiddleware")]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {"context_processors": ["django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages"]}}]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "HOST": os.environ["PGHOST"],
    **{key: os.environ["PG" + name] for key, name in (
        ("PORT", "PORT"), ("NAME", "DATABASE"), ("USER", "USER"), ("PASSWORD", "PASSWORD"))}}}
""",
    "notes/__init__.py": "",
    "notes/models.py": """
from django.db import models
class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)
class Note(models.Model):
    title = models.CharField(max_length=200, db_index=True)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    tags = models.ManyToManyField("Note")
    meta = models.JSONField(default=dict)
""",
}
_CHANGED = """
    slug = models.SlugField(default="x")
    rank = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(rank__gte=0), name="rank_is_good"),
            models.UniqueConstraint(fields=["author", "slug"], name="one_slug")]
"""
_FILL = """
from django.contrib.auth.models import User
from notes.models import Author, Note
User.objects.create_superuser("ada", "ada@example.com", "secret")
author = Author.objects.create(name="Ada")
notes = Note.objects.bulk_create(
    Note(title=f"note {n}", author=author, slug=f"s{n}") for n in range(50))
notes[0].tags.add(*notes[1:5])
Note.objects.filter(title__contains="4").update(rank=3)
Note.objects.filter(pk=notes[9].pk).delete()
assert Note.objects.count() == 49 and author.note_set.filter(rank=3).count() == 14
"""


def test_django(leaves: Callable[[Work], tuple[str, str]], tmp_path: Path) -> None:
    need("django")

    def work(place: Place) -> None:
        folder = tmp_path / str(place.port)
        write(folder, _DJANGO)

        def manage(*words: str) -> str:
            return run(
                ["-m", "django", *words], place, folder, DJANGO_SETTINGS_MODULE="settings",
                PYTHONPATH=str(folder),
            )  # fmt: skip

        manage("makemigrations", "notes", "--name", "first")
        manage("migrate")
        models = folder / "notes/models.py"
        models.write_text(models.read_text() + _CHANGED)
        manage("makemigrations", "notes", "--name", "second")
        manage("migrate")
        manage("shell", "-c", _FILL)
        assert "class NotesNote(" in manage("inspectdb")
        manage("migrate", "notes", "zero")
        manage("migrate")
        manage("flush", "--no-input")
        manage("shell", "-c", _FILL)

    direct, through = leaves(work)
    assert "rank_is_good" in direct
    assert through == direct


# dbt

_DBT = {
    "profiles.yml": """
suite:
  target: one
  outputs:
    one: {type: postgres, host: "{{ env_var('PGHOST') }}", port: "{{ env_var('PGPORT') | int }}",
      user: "{{ env_var('PGUSER') }}", password: "{{ env_var('PGPASSWORD') }}",
      dbname: "{{ env_var('PGDATABASE') }}", schema: built, threads: 2}
""",
    "dbt_project.yml": "name: suite\nprofile: suite\nversion: '1.0'\nmodel-paths: [models]\n"
    "seed-paths: [seeds]\n",
    "seeds/visits.csv": "id,person,day\n"
    + "".join(f"{n},p{n % 7},2025-01-{n % 28 + 1:02}\n" for n in range(1, 60)),
    "models/per_day.sql": "{{ config(materialized='view') }} select day, count(*) as visits "
    "from {{ ref('visits') }} group by day",
    "models/people.sql": "{{ config(materialized='table', indexes=[{'columns': ['person']}]) }} "
    "select distinct person from {{ ref('visits') }}",
    "models/latest.sql": "{{ config(materialized='incremental', unique_key='person') }} "
    "select person, max(day) as day from {{ ref('visits') }} {% if is_incremental() %} "
    "where day >= (select max(day) from {{ this }}) {% endif %} group by person",
    "models/schema.yml": "models:\n  - name: people\n    columns:\n"
    "      - {name: person, data_tests: [unique, not_null]}\n",
}


def test_dbt(leaves: Callable[[Work], tuple[str, str]], tmp_path: Path) -> None:
    need("dbt")

    def work(place: Place) -> None:
        folder = tmp_path / str(place.port)
        write(folder, _DBT)
        call = "import sys; from dbt.cli.main import cli; cli(sys.argv[1:])"
        for words in ((), (), ("--full-refresh",)):
            said = run(
                ["-c", call, "build", "--no-use-colors", *words], place, folder,
                DBT_PROFILES_DIR=str(folder), DBT_SEND_ANONYMOUS_USAGE_STATS="false",
            )  # fmt: skip
            assert "Completed successfully" in said and "ERROR=0" in said

    direct, through = leaves(work)
    assert "latest 7" in direct
    assert through == direct


# Alembic

_ALEMBIC = {
    "alembic.ini": "[alembic]\nscript_location = scripts\n",
    "scripts/env.py": """
import os
from alembic import context
from sqlalchemy import URL, create_engine, pool
place = URL.create("postgresql+psycopg", os.environ["PGUSER"], os.environ["PGPASSWORD"],
    os.environ["PGHOST"], int(os.environ["PGPORT"]), os.environ["PGDATABASE"])
with create_engine(place, poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
""",
    "scripts/versions/a_first.py": """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "a1", None
def upgrade():
    op.create_table("account", sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String(200), nullable=False, unique=True),
        sa.Column("tier", sa.Enum("free", "paid", name="tier")))
    op.create_index("account_tier", "account", ["tier"])
    op.bulk_insert(sa.table("account", sa.column("email")), [{"email": f"{n}@x"} for n in range(9)])
def downgrade():
    op.drop_table("account")
    op.execute("DROP TYPE tier")
""",
    "scripts/versions/b_second.py": """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "b2", "a1"
def upgrade():
    op.create_table("invoice", sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("account", sa.Integer, sa.ForeignKey("account.id", ondelete="CASCADE")))
    op.add_column("account", sa.Column("credit", sa.Numeric(10, 2), server_default="0"))
    op.create_check_constraint("credit_is_good", "account", "credit >= 0")
    op.alter_column("account", "email", new_column_name="mail", type_=sa.Text)
    op.execute("CREATE VIEW paying AS SELECT id, mail FROM account WHERE tier = 'paid'")
    op.execute("UPDATE account SET credit = 5 WHERE id < 4")
    op.execute("INSERT INTO invoice (account) SELECT id FROM account")
def downgrade():
    op.execute("DROP VIEW paying")
    op.drop_table("invoice")
    op.drop_constraint("credit_is_good", "account")
    op.drop_column("account", "credit")
    op.alter_column("account", "mail", new_column_name="email", type_=sa.String(200))
""",
}


def test_alembic(leaves: Callable[[Work], tuple[str, str]], tmp_path: Path) -> None:
    need("alembic")

    def work(place: Place) -> None:
        folder = tmp_path / str(place.port)
        write(folder, _ALEMBIC)
        call = "import sys; from alembic.config import main; main(argv=sys.argv[1:])"
        for words in (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "head")):
            run(["-c", call, *words], place, folder)
        assert "b2" in run(["-c", call, "current"], place, folder)

    direct, through = leaves(work)
    assert "credit_is_good" in direct and "invoice 9" in direct
    assert through == direct


# pg_dump

_OBJECTS = """
create schema app; create type app.mood as enum ('good', 'bad');
create domain app.short as text check (length(value) < 30);
create table app.person (id int generated always as identity primary key, name app.short not null,
  mood app.mood default 'good', born date,
  initial text generated always as ("left"(name::text, 1)) stored);
create table app.visit (id bigserial, person int references app.person on delete cascade,
  day date not null, note text, primary key (id, day)) partition by range (day);
create table app.visit_2025 partition of app.visit for values from ('2025-01-01') to ('2026-01-01');
create index on app.visit (person) where note is not null;
create view app.born as select name, born from app.person where born is not null with check option;
create materialized view app.visits as select person, count(*) as n from app.visit group by person;
create unique index on app.visits (person);
create function app.older(at date) returns bigint language sql stable as
  $$ select count(*) from app.person where born < at $$;
create function app.touches() returns trigger language plpgsql as
  $$ begin new.note := coalesce(new.note, ''); return new; end $$;
create trigger touches before insert on app.visit for each row execute function app.touches();
comment on table app.person is 'who';
insert into app.person (name, born)
  select 'n' || n, date '1990-01-01' + n from generate_series(1, 300) n;
insert into app.visit (person, day, note)
  select n, date '2025-01-01' + n, e'a\\tb' from generate_series(1, 300) n;
refresh materialized view app.visits;
"""


@pytest.mark.parametrize("form", ["COPY", "INSERT"])
def test_pg_dump_and_restore(
    leaves: Callable[[Work], tuple[str, str]], own_postgres: Server, tmp_path: Path, form: str
) -> None:
    """The script of a dump through the gateway, restored through it into an empty database.
    Large objects (-B) are refused.
    """
    inserts = ["--inserts"] if form == "INSERT" else []

    def work(place: Place) -> None:
        with psycopg.connect(as_role(own_postgres, DATABASE).agent_dsn, autocommit=True) as db:
            db.execute(sql.SQL(_OBJECTS))
        script = tmp_path / f"{place.port}.sql"
        script.write_text(
            run(["pg_dump", "--no-owner", "--no-privileges", "-B", *inserts], place),
            encoding="utf-8",
        )
        with psycopg.connect(as_role(own_postgres, DATABASE).agent_dsn, autocommit=True) as db:
            db.execute("set client_min_messages = error; drop schema app cascade")
        run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(script)], place)

    direct, through = leaves(work)
    assert "visit_2025 300" in direct
    assert through == direct
