// A SAML identity provider for tests: the npm package samlp. Whoever comes is signed in as the user in the query.
// Requests that are signed must be signed by SP.pem. node server.mjs KEY.pem CERT.pem SP.pem; prints {"url": ...}; ends with its standard input.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import samlp from 'samlp';

const [key, cert, spCert] = process.argv.slice(2).map((path) => readFileSync(path, 'utf8'));
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
  const mapper = (user) => ({
    getClaims: () => user.claims ?? {},
    getNameIdentifier: () => ({ nameIdentifier: user.id, nameIdentifierFormat: user.format ?? 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent' }),
  });
  mapper.prototype = { metadata: [] };
  const common = { issuer: `${url}/saml`, key, cert, profileMapper: mapper, signatureAlgorithm: 'rsa-sha256', digestAlgorithm: 'sha256' };
  if (asked.pathname === '/metadata') {
    samlp.metadata({ issuer: common.issuer, cert, redirectEndpointPath: '/sso', postEndpointPath: '/sso', logoutEndpointPaths: {}, profileMapper: mapper })(req, res);
  } else if (asked.pathname === '/sso') {
    const user = { id: req.query.user ?? 'ada', claims: { groups: ['dba', 'Domain Users'], email: 'ada@example.com' } };
    const signed = req.query.Signature || Buffer.from(req.body.SAMLRequest ?? '', 'base64').includes('SignatureValue');
    const destination = await new Promise((done) => samlp.parseRequest(req, {}, (_, data) => done(data?.assertionConsumerServiceURL)));
    samlp.auth({
      ...common,
      destination,
      recipient: destination,
      signingCert: signed ? spCert : undefined,
      signResponse: true,
      getUserFromRequest: () => user,
      getPostURL: (audience, request, _, done) => done(null, request.documentElement.getAttribute('AssertionConsumerServiceURL')),
      // Browsers get samlp's own page, which posts itself.
      responseHandler: (req.headers.accept ?? '').includes('text/html') ? undefined : (response, options) => res.send(JSON.stringify({ SAMLResponse: response.toString('base64'), acs: options.postUrl })),
    })(req, res, (error) => res.send(500, String(error && error.stack)));
  } else if (asked.pathname === '/response') {
    const { user, ...options } = JSON.parse(text);
    samlp.getSamlResponse({ ...common, ...options }, user, (error, response) =>
      error ? res.send(500, String(error)) : res.send(Buffer.from(response).toString('base64')));
  } else res.send(404, '');
});
process.stdin.resume().on('end', () => process.exit(0));
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
