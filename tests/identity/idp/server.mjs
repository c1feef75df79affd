// A real OpenID provider for the tests: panva's oidc-provider with two clients and signed JWT access tokens.
// Prints one line of JSON ({"issuer": ...}) when it serves; ends when its standard input closes.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const AUDIENCE = 'sallyport';
const RESOURCE = 'https://gateway.example.com/';
const OTHER = 'https://other.example.com/';

// What each client's tokens carry beyond the standard claims, in the shapes that common providers use.
const EXTRA = {
  'claude-agent': { groups: ['claude-postgres'] },
  'dana-dba': { groups: 'dba on-call', realm_access: { roles: ['dba'] }, 'https://example.com/groups': ['url-dba'] },
};

// Public clients of people: a browser on the same machine (RFC 8252) or the device flow.
const PEOPLE = ['sallyport-cli', 'sallyport-brief'];
for (const id of PEOPLE) EXTRA[id] = { groups: ['claude-postgres'] };

const jwk = (type, options, alg) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
  alg, use: 'sig', kid: `${alg}-key`,
});

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: Object.keys(EXTRA).map((client_id) => (PEOPLE.includes(client_id) ? {
      client_id,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      redirect_uris: ['http://127.0.0.1/'],
      response_types: ['code'],
    } : {
      client_id,
      client_secret: `${client_id}-secret`,
      grant_types: ['client_credentials', 'urn:ietf:params:oauth:grant-type:device_code'],
      redirect_uris: [],
      response_types: [],
    })),
    jwks: {
      keys: [
        jwk('rsa', { modulusLength: 2048 }, 'RS256'),
        jwk('ec', { namedCurve: 'P-256' }, 'ES256'),
        jwk('ed25519', {}, 'EdDSA'),
      ],
    },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: 'rs256 es256 eddsa',
          audience: resource === OTHER ? 'another-service' : AUDIENCE,
          accessTokenTTL: ctx.oidc?.client?.clientId === 'sallyport-brief' ? 8 : 600,
          accessTokenFormat: 'jwt',
          // The asked-for scope picks the algorithm, so that one provider shows them all.
          jwt: { sign: { alg: algorithm(ctx.oidc?.params?.scope) } },
        }),
      },
    },
    extraTokenClaims: (ctx, token) => EXTRA[token.clientId],
  });
  server.on('request', provider.callback());
  console.log(JSON.stringify({ issuer }));
});

function algorithm(scope) {
  return { es256: 'ES256', eddsa: 'EdDSA' }[scope] ?? 'RS256';
}

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
