// An OpenID provider that others wrote: npm `oidc-provider`, in memory, over https.
//
// People sign in with `login=alice&password=pw-alice` and, where they have one, `otp=123456`. Three levels: a password
// (PWD), a password and a code (MFA), and one that nobody here can reach (KEY). A level that is only wished for comes
// back as far as it was reached; an essential one that the person cannot reach is answered
// `unmet_authentication_requirements`. PKCE and a nonce are demanded from every client.
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:https';
import Provider, { errors, interactionPolicy } from '../.work/npm/node_modules/oidc-provider/lib/index.js';
import { pki } from './pki.mjs';
import { freePorts } from './work.mjs';

export const PWD = 'urn:test:acr:pwd';
export const MFA = 'urn:test:acr:mfa';
export const KEY = 'urn:test:acr:key';
const LEVELS = [PWD, MFA, KEY];
const OTP = '123456';
/** Resource indicators: access tokens for them are JWTs. */
export const API = 'urn:test:api';
const RESOURCES = [API, 'urn:test:another-api'];

const person = (sub, name, groups, otp = OTP) => [sub, { sub, name, groups, otp, password: `pw-${sub}`, disabled: false,
  preferred_username: sub, email: `${sub}@gate.test`, email_verified: true }];

/** @param clients metadata; one that ends in `-mfa` lets nobody in without a code, whatever is asked for */
export async function startIdp({ clients }) {
  const [port] = await freePorts(1);
  const issuer = `https://127.0.0.1:${port}`;
  const users = new Map([
    person('alice', 'Alice Admin', ['staff', 'admins']),
    person('bob', 'Bob Bookkeeper', ['staff', 'finance']),
    person('nora', 'Nora No-Phone', ['staff', 'admins'], null),
    person('dora', 'Dora Departed', ['staff']),
  ]);
  /** What clients asked the authorization endpoint, and what went wrong. */
  const asked = [];
  const faults = [];

  const keyPair = (type, options, extra) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), ...extra });
  const jwks = { keys: [
    keyPair('ec', { namedCurve: 'P-256' }, { kid: 'es1', use: 'sig', alg: 'ES256' }),
    keyPair('rsa', { modulusLength: 2048 }, { kid: 'rs1', use: 'sig', alg: 'RS256' }),
  ] };

  // `acr_values` is only a wish in OpenID Connect, and oidc-provider ignores it by default. Ask again when the session
  // is below every wished level, once; then say what was reached.
  const policy = interactionPolicy.base();
  policy.get('login').checks.add(new interactionPolicy.Check('acr_values', 'step-up wished for', ({ oidc }) => {
    const wished = (oidc.params.acr_values ?? '').split(' ').map((acr) => LEVELS.indexOf(acr)).filter((level) => level >= 0);
    return wished.length > 0 && !oidc.result?.login && LEVELS.indexOf(oidc.acr) < Math.min(...wished);
  }));

  const findAccount = (_ctx, sub) => {
    const user = users.get(sub);
    if (!user || user.disabled) return undefined;
    const { password, disabled, otp, ...claims } = user;
    return { accountId: sub, claims: () => claims };
  };
  const provider = new Provider(issuer, {
    clients, jwks, findAccount,
    fetch: callRelyingParty,
    claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], groups: ['groups'],
      profile: ['name', 'preferred_username'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    acrValues: LEVELS,
    scopes: ['openid', 'profile', 'email', 'groups', 'api:read'],
    pkce: { required: () => true },
    cookies: { keys: ['a-key-for-tests'] },
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    ttl: { AccessToken: 300, ClientCredentials: 300, IdToken: 300, Session: 3600, Grant: 3600, RefreshToken: 3600,
      Interaction: 600, AuthorizationCode: 60 },
    // Everything asked for is granted: no page asks for consent.
    loadExistingGrant: async ({ oidc }) => {
      const id = oidc.session.grantIdFor(oidc.client.clientId);
      const grant = (id && await oidc.provider.Grant.find(id))
        ?? new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
      grant.addOIDCScope([...oidc.requestParamOIDCScopes].join(' '));
      grant.addOIDCClaims([...oidc.requestParamClaims]);
      await grant.save();
      return grant;
    },
    // What an access token says beside the standard claims: a machine's client metadata stands in for a person's login.
    extraTokenClaims: (_ctx, token) => (token.clientId === 'strong-machine'
      ? { acr: MFA, auth_time: Math.floor(Date.now() / 1000) } : undefined),
    features: {
      devInteractions: { enabled: false }, backchannelLogout: { enabled: true }, claimsParameter: { enabled: true }, clientCredentials: { enabled: true },
      rpInitiatedLogout: { enabled: true, logoutSource: confirmSignOut },
      resourceIndicators: { enabled: true, useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, audience) => {
          if (!RESOURCES.includes(audience)) throw new errors.InvalidTarget();
          return { scope: 'api:read', audience, accessTokenFormat: 'jwt', accessTokenTTL: 300 };
        } },
    },
    interactions: { policy, url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  });
  for (const event of ['server_error', 'grant.error', 'authorization.error', 'end_session.error', 'backchannel.error']) {
    provider.on(event, (_ctx, error) => faults.push({ event, error: error.error ?? error.name, detail: error.error_detail ?? error.message }));
  }

  async function interaction(req, res) {
    const { uid, prompt, params } = await provider.interactionDetails(req, res);
    const bound = params.client_id.endsWith('-mfa') ? [MFA] : undefined;
    const essential = bound ?? (prompt.details.acr?.essential ? prompt.details.acr.values : undefined) ?? [];
    const wantsCode = essential.includes(MFA) || (params.acr_values ?? '').includes(MFA);
    if (req.method === 'GET') return send(res, 200, form(uid, '', wantsCode));
    const fields = new URLSearchParams(await body(req));
    const user = users.get(fields.get('login'));
    const otp = fields.get('otp');
    if (!user || user.disabled || user.password !== fields.get('password') || (otp && otp !== user.otp)) {
      return send(res, 401, form(uid, 'Wrong user, password or code.', wantsCode));
    }
    const acr = otp ? MFA : PWD;
    if (essential.length > 0 && !essential.includes(acr)) {
      if (user.otp) return send(res, 401, form(uid, 'The code is needed.', true));
      return provider.interactionFinished(req, res, { error: 'unmet_authentication_requirements',
        error_description: 'no such factor' });
    }
    return provider.interactionFinished(req, res, { login: { accountId: user.sub, acr,
      amr: otp ? ['pwd', 'otp', 'mfa'] : ['pwd'], remember: true } }, { mergeWithLastSubmission: false });
  }

  const callback = provider.callback();
  const tls = { cert: readFileSync(pki()('server.crt')), key: readFileSync(pki()('server.key')) };
  const server = createServer(tls, (req, res) => {
    const url = new URL(req.url, issuer);
    if (url.pathname === '/auth' && req.method === 'GET') asked.push(Object.fromEntries(url.searchParams));
    const answered = url.pathname.startsWith('/interaction/') ? interaction(req, res) : callback(req, res);
    Promise.resolve(answered).catch((error) => {
      faults.push({ event: 'handler', error: error.name, detail: error.message });
      send(res, error.statusCode ?? 500, `${error.name}: ${error.error_description ?? error.message}`);
    });
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  const stop = () => new Promise((done) => { server.close(done); server.closeAllConnections(); });
  return { issuer, port, users, asked, faults, stop };
}

// Back-channel logout goes to the gate's own host name, which is this machine, with a certificate of the test authority.
function callRelyingParty(url, { method, headers, body }) {
  const lookup = (_host, options, done) => (options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4));
  return new Promise((done, failed) => {
    const out = request(url, { method, headers: Object.fromEntries(headers), lookup, ca: readFileSync(pki()('ca.crt')) }, (res) => {
      res.resume().on('error', failed).on('end', () => done(new Response(null, { status: res.statusCode })));
    });
    out.on('error', failed);
    out.end(body?.toString());
  });
}

function form(uid, message, wantsCode) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title><h1>Sign in</h1>
<p role="alert">${message}</p><form method="post" action="/interaction/${uid}">
<label>User <input name="login" autocomplete="username"></label>
<label>Password <input name="password" type="password"></label>
<label>One-time code ${wantsCode ? '(required)' : '(optional)'} <input name="otp"></label>
<button>Sign in</button></form></html>`;
}

// `form` is oidc-provider's own: a post with its XSRF token.
function confirmSignOut(ctx, ownForm) {
  ctx.body = `<!doctype html><html lang="en"><title>Sign out</title><h1>Sign out</h1>${ownForm}
<button type="submit" form="op.logoutForm" value="yes" name="logout">Yes</button></html>`;
}

async function body(req) {
  let text = '';
  for await (const chunk of req) text += chunk;
  return text;
}

function send(res, status, text) {
  res.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
  res.end(text);
}
