// A real OpenID provider with people: panva's oidc-provider, authorization code with PKCE, a form that asks for name and
// password, and clients with tokens of their own. Takes {redirect, people, clients} as JSON; prints {"issuer": ...} when it
// serves; ends when its standard input closes.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { redirect, people, clients } = JSON.parse(process.argv[2]);

const page = (problem) => `<!doctype html><html lang="en"><title>Log in</title><h1>Log in</h1><p role="alert">${problem}</p>
<form method="post"><label>Name <input name="name" autofocus></label> <label>Password <input name="password" type="password"></label>
<button>Log in</button></form></html>`;

async function form(request) {
  let text = '';
  for await (const piece of request) text += piece;
  return new URLSearchParams(text);
}

// The provider sends the browser to /interaction/<uid> when it does not know who sits there.
async function interaction(provider, request, response) {
  const say = (problem) => {
    response.writeHead(problem ? 403 : 200, { 'content-type': 'text/html' });
    response.end(page(problem));
  };
  if (request.method !== 'POST') return say('');
  const given = await form(request);
  const name = given.get('name');
  if (people[name]?.password !== given.get('password')) return say('Not like that.');
  return provider.interactionFinished(request, response, { login: { accountId: name } });
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'sallyport-console',
        token_endpoint_auth_method: 'none',
        redirect_uris: [redirect],
        response_types: ['code'],
        grant_types: ['authorization_code'],
      },
      ...Object.keys(clients).map((client_id) => ({
        client_id,
        client_secret: 'a-secret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      })),
    ],
    claims: { openid: ['sub', 'groups'], email: ['email'], profile: ['name'] },
    conformIdTokenClaims: false, // claims go into the ID token, as most providers do it
    findAccount: (ctx, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id].claims }) },
    // The console is the house's own: nobody is asked whether they agree.
    loadExistingGrant: async (ctx) => {
      const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid email profile');
      await grant.save();
      return grant;
    },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx) => (ctx.oidc.client?.grantTypes.includes('client_credentials') ? 'https://gateway.example.com/' : undefined),
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: '', audience: 'sallyport', accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: (ctx, token) => clients[token.clientId],
  });
  const answer = provider.callback();
  server.on('request', (request, response) => {
    if (request.url.startsWith('/interaction/')) interaction(provider, request, response).catch(() => response.destroy());
    else answer(request, response);
  });
  console.log(JSON.stringify({ issuer }));
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
