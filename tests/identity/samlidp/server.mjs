// A SAML identity provider for tests: the npm package samlp. Whoever comes is signed in as the user in the query.
// Requests that are signed must be signed by SP.pem. node server.mjs KEY.pem CERT.pem SP.pem; prints {"url": ...}; ends with its standard input.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import samlp from 'samlp';

const [key, cert, spCert] = process.argv.slice(2).map((path) => readFileSync(path, 'utf8'));
// Who takes part in the provider's session, and what single logout keeps between two steps of a browser.
const Participants = createRequire(import.meta.url)('samlp/lib/sessionParticipants');
const participants = [];
const BINDINGS = { redirect: 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect', post: 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST' };
const states = new Map();
const store = {
  save: (_, state, done) => {
    const id = randomBytes(12).toString('hex');
    states.set(id, state);
    done(null, id);
  },
  load: (_, id, options, done) => {
    const state = states.get(id);
    if (typeof options === 'function') return options(null, state);
    if (options.destroy) states.delete(id);
    done(null, state);
  },
  update: (_, id, state, done) => (states.set(id, state), done(null)),
};
const server = createServer(async (req, res) => {
  const url = `http://127.0.0.1:${server.address().port}`;
  const asked = new URL(req.url, url);
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  req.query = Object.fromEntries(asked.searchParams);
  req.body = Object.fromEntries(new URLSearchParams(text));
  req.protocol = 'http';
  req.originalUrl = req.url;
  req.headers.host ??= `127.0.0.1:${server.address().port}`;
  res.set = (name, value) => (typeof name === 'string' ? res.setHeader(name, value) : Object.entries(name).forEach(([n, v]) => res.setHeader(n, v)));
  res.send = (status, body) => {
    if (body === undefined && typeof status !== 'number') [status, body] = [200, status];
    res.statusCode = status;
    res.end(String(body ?? ''));
  };
  res.redirect = (to) => {
    res.statusCode = 302;
    res.setHeader('Location', to);
    res.end();
  };
  const failed = (error) => res.send(500, String(error && error.stack));
  const mapper = (user) => ({
    getClaims: () => user.claims ?? {},
    getNameIdentifier: () => ({ nameIdentifier: user.id, nameIdentifierFormat: user.format ?? 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent' }),
  });
  mapper.prototype = { metadata: [] };
  const common = { issuer: `${url}/saml`, key, cert, profileMapper: mapper, signatureAlgorithm: 'rsa-sha256', digestAlgorithm: 'sha256' };
  if (asked.pathname === '/metadata') {
    samlp.metadata({ issuer: common.issuer, cert, redirectEndpointPath: '/sso', postEndpointPath: '/sso', logoutEndpointPaths: { redirect: '/slo', post: '/slo' }, profileMapper: mapper })(req, res);
  } else if (asked.pathname === '/sso') {
    const user = { id: req.query.user ?? 'ada', claims: { groups: ['dba', 'Domain Users'], email: 'ada@example.com' } };
    const signed = req.query.Signature || Buffer.from(req.body.SAMLRequest ?? '', 'base64').includes('SignatureValue');
    const sessionIndex = `_${randomBytes(8).toString('hex')}`;
    const { assertionConsumerServiceURL: destination, issuer } = (await new Promise((done) => samlp.parseRequest(req, {}, (_, data) => done(data)))) ?? {};
    participants.push({
      serviceProviderId: issuer,
      nameId: user.id,
      nameIdFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
      sessionIndex,
      serviceProviderLogoutURL: destination?.replace(/acs$/, 'slo'),
      binding: BINDINGS[req.query.SAMLRequest ? 'redirect' : 'post'],
      cert: spCert,
    });
    samlp.auth({
      ...common,
      sessionIndex,
      destination,
      recipient: destination,
      signingCert: signed ? spCert : undefined,
      signResponse: true,
      getUserFromRequest: () => user,
      getPostURL: (audience, request, _, done) => done(null, request.documentElement.getAttribute('AssertionConsumerServiceURL')),
      // Browsers get samlp's own page, which posts itself.
      responseHandler: (req.headers.accept ?? '').includes('text/html') ? undefined : (response, options) => res.send(JSON.stringify({ SAMLResponse: response.toString('base64'), acs: options.postUrl })),
    })(req, res, failed);
  } else if (asked.pathname === '/slo' || asked.pathname === '/logout') {
    // /slo: what service providers send. /logout: somebody signs out at the provider.
    samlp.logout({ ...common, deflate: true, store, sessionParticipants: new Participants(participants), protocolBinding: BINDINGS.redirect })(req, res, failed);
  } else if (asked.pathname === '/participants') {
    const added = JSON.parse(text).map((each) => ({ ...each, binding: BINDINGS[each.binding], cert: spCert }));
    participants.splice(0, Infinity, ...added);
    res.send('');
  } else if (asked.pathname === '/response') {
    const { user, ...options } = JSON.parse(text);
    samlp.getSamlResponse({ ...common, ...options }, user, (error, response) =>
      error ? res.send(500, String(error)) : res.send(Buffer.from(response).toString('base64')));
  } else res.send(404, '');
});
process.stdin.resume().on('end', () => process.exit(0));
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
