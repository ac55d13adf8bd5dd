import { createSecretKey, randomBytes } from 'node:crypto';
import { expect } from 'chai';
import jwt from 'jsonwebtoken';
import { AppError } from '#src/domain/errors.js';
import { createIdentities, type Identity } from '#src/security/identities.js';
import { assertFetchable, isPrivateAddress } from '#src/security/publicUrl.js';
import { deriveSecretKey, openSecret, sealSecret } from '#src/security/secretBox.js';
import {
  hashToken,
  isApiKey,
  issueAccessToken,
  newApiKey,
  newToken,
  verifyAccessToken,
} from '#src/security/tokens.js';
import {
  matchTotp,
  newRecoveryCode,
  newTotpSecret,
  normalRecoveryCode,
  totpCode,
} from '#src/security/totp.js';

const secret = createSecretKey(randomBytes(32));

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof AppError ? error.code : String(error);
  }
  return 'nothing thrown';
}

async function codeOfAsync(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing thrown',
    (error: unknown) => (error instanceof AppError ? error.code : String(error)),
  );
}

describe('stored secrets', () => {
  const key = deriveSecretKey(secret);

  it('come back as they were, and look different each time', () => {
    const sealed = sealSecret(key, 'agent token ✓');
    expect(openSecret(key, sealed)).to.equal('agent token ✓');
    expect(sealSecret(key, 'agent token ✓')).to.not.equal(sealed);
    expect(sealed).to.match(/^v1\./).and.not.include('agent');
  });

  it('are refused when a bit was flipped, when they are cut, and under another key', () => {
    const sealed = sealSecret(key, 'token');
    const bytes = Buffer.from(sealed.slice(3), 'base64url');
    for (let at = 0; at < bytes.length; at++) {
      const forged = Buffer.from(bytes);
      forged.writeUInt8(forged.readUInt8(at) ^ 1, at);
      expect(codeOf(() => openSecret(key, `v1.${forged.toString('base64url')}`))).to.equal('internal');
    }
    for (const broken of ['', 'v1.', 'v1.AAAA', 'v2.' + sealed.slice(3), sealed.slice(0, -6)]) {
      expect(
        codeOf(() => openSecret(key, broken)),
        broken,
      ).to.equal('internal');
    }
    expect(codeOf(() => openSecret(deriveSecretKey(createSecretKey(randomBytes(32))), sealed))).to.equal(
      'internal',
    );
  });
});

describe('access tokens', () => {
  const claims = { sub: 'u1', role: 'user', sid: 's1' } as const;

  it('say who, which session and until when', () => {
    const { expiresAt, ...said } = verifyAccessToken(secret, issueAccessToken(secret, claims, 60_000));
    expect(said).to.deep.equal(claims);
    expect(expiresAt.getTime() - Date.now()).to.be.within(55_000, 61_000);
  });

  it('are refused when they have expired, are signed by another key or another algorithm, or are not ours', () => {
    const now = Math.floor(Date.now() / 1000);
    const expired = jwt.sign({ ...claims, exp: now - 1 }, secret);
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${expired.split('.')[1]}.`;
    expect(codeOf(() => verifyAccessToken(secret, expired))).to.equal('token-expired');
    const refused = [
      issueAccessToken(createSecretKey(randomBytes(32)), claims, 60_000),
      jwt.sign(claims, createSecretKey(randomBytes(64)), { algorithm: 'HS512' }),
      jwt.sign(claims, secret),
      jwt.sign({ sub: 'u1' }, secret, { expiresIn: 60 }),
      jwt.sign({ ...claims, role: 'root' }, secret, { expiresIn: 60 }),
      none,
      'garbage',
    ];
    for (const token of refused)
      expect(codeOf(() => verifyAccessToken(secret, token))).to.equal('unauthenticated');
  });

  it('random tokens are 256 bits and stored only as their hash', () => {
    expect(Buffer.from(newToken(), 'base64url')).to.have.length(32);
    expect(hashToken('a')).to.match(/^[0-9a-f]{64}$/);
  });
});

describe('identities', () => {
  const identity: Identity = { id: 'u1', role: 'user', username: 'demo', sessionId: 's1' };
  const claims = { sub: 'u1', role: 'user', sid: 's1' } as const;

  it('ask the database once in five seconds, and at once after forgetUser', async () => {
    let asked = 0;
    let time = 0;
    const identities = createIdentities({
      secret,
      now: () => time,
      find: () => Promise.resolve(asked++ < 3 ? identity : null),
      findKey: () => Promise.resolve(null),
    });
    await identities.identify(claims);
    time = 4_999;
    await identities.identify(claims);
    expect(asked).to.equal(1);
    time = 5_001;
    await identities.identify(claims);
    expect(asked).to.equal(2);
    identities.forgetUser('u1');
    await identities.identify(claims);
    expect(asked).to.equal(3);
    identities.forgetUser('u1');
    expect(await codeOfAsync(identities.identify(claims))).to.equal('unauthenticated');
  });

  it("never answer one user with another's session", async () => {
    const identities = createIdentities({
      secret,
      find: ({ sub }) => Promise.resolve(sub === 'u1' ? identity : null),
      findKey: () => Promise.resolve(null),
    });
    await identities.identify(claims);
    expect(await codeOfAsync(identities.identify({ ...claims, sub: 'u2' }))).to.equal('unauthenticated');
  });
});

describe('API keys', () => {
  const owner: Identity = { id: 'u1', role: 'user', username: 'demo', sessionId: null, scopes: ['read'] };
  const never = () => Promise.reject(new Error('no key is an access token'));

  it('are told from access tokens, asked about once in five seconds, and forgotten with their owner', async () => {
    const { key, prefix } = newApiKey();
    expect(isApiKey(key)).to.equal(true);
    expect(key.startsWith(prefix)).to.equal(true);
    const asked: string[] = [];
    const findKey = (hash: string) => {
      asked.push(hash);
      return Promise.resolve(asked.length < 3 ? { user: owner, expiresAt: null } : null);
    };
    const identities = createIdentities({ secret, find: never, findKey });
    expect(await identities.authenticate(key)).to.deep.equal({ user: owner, expiresAt: null });
    await identities.authenticate(key);
    expect(asked).to.deep.equal([hashToken(key)]);
    identities.forgetUser('u1');
    await identities.authenticate(key);
    expect(asked).to.have.length(2);
    identities.forgetUser('u1');
    expect(await codeOfAsync(identities.authenticate(key))).to.equal('unauthenticated');
  });

  it('that end are looked at again, however shortly ago they were', async () => {
    const { key } = newApiKey();
    let asked = 0;
    const findKey = () => {
      asked += 1;
      return Promise.resolve({ user: owner, expiresAt: new Date(Date.now() - 1) });
    };
    const identities = createIdentities({ secret, find: never, findKey });
    await identities.authenticate(key);
    await identities.authenticate(key);
    expect(asked).to.equal(2);
  });
});

describe('second factors', () => {
  // RFC 6238, appendix B: its secret in base32, and its codes cut to six digits.
  const secretOfRfc = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
  const codes: [seconds: number, code: string][] = [
    [59, '287082'],
    [1_111_111_109, '081804'],
    [1_111_111_111, '050471'],
    [1_234_567_890, '005924'],
    [2_000_000_000, '279037'],
    [20_000_000_000, '353130'],
  ];

  it('make the codes of RFC 6238', () => {
    for (const [seconds, code] of codes) {
      expect(totpCode(secretOfRfc, seconds * 1000)).to.equal(code);
      expect(matchTotp(secretOfRfc, code, seconds * 1000)).to.equal(Math.floor(seconds / 30));
    }
  });

  it('take a code of the step before and after, and of no other', () => {
    const at = 1_700_000_000_000;
    const step = Math.floor(at / 30_000);
    const own = newTotpSecret();
    for (const distance of [-1, 0, 1])
      expect(matchTotp(own, totpCode(own, at + distance * 30_000), at)).to.equal(step + distance);
    for (const distance of [-3, -2, 2, 3])
      expect(matchTotp(own, totpCode(own, at + distance * 30_000), at)).to.equal(null);
    for (const garbage of ['', '12345', '1234567', 'abcdef', '٣٤٥٦٧٨'])
      expect(matchTotp(own, garbage, at)).to.equal(null);
  });

  it('have secrets and recovery codes that are random, and codes that may be typed carelessly', () => {
    expect(newTotpSecret()).to.match(/^[A-Z2-7]{32}$/);
    expect(newTotpSecret()).to.not.equal(newTotpSecret());
    const code = newRecoveryCode();
    expect(code).to.match(/^(?:[A-Z2-7]{4}-){3}[A-Z2-7]{4}$/);
    expect(normalRecoveryCode(` ${code.toLowerCase().replaceAll('-', ' ')} `)).to.equal(
      normalRecoveryCode(code),
    );
  });
});

describe('URLs that users give', () => {
  const internet = { allowPrivate: false, resolve: () => Promise.resolve(['93.184.215.14']) };

  it('know which addresses are not the internet', () => {
    const inside = [
      '127.0.0.1',
      '10.1.2.3',
      '172.31.0.1',
      '192.168.1.1',
      '169.254.169.254',
      '100.64.0.1',
      '0.0.0.0',
    ];
    inside.push(
      '255.255.255.255',
      '::1',
      '::',
      'fe80::1',
      'fd00::1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '2002:7f00:1::',
    );
    for (const address of inside) expect(isPrivateAddress(address), address).to.equal(true);
    const outside = [
      '1.1.1.1',
      '93.184.215.14',
      '172.32.0.1',
      '2606:4700::1111',
      '::ffff:1.1.1.1',
      '::ffff:101:101',
    ];
    for (const address of outside) expect(isPrivateAddress(address), address).to.equal(false);
  });

  it('must be https without credentials and outside private networks', async () => {
    expect(await codeOfAsync(assertFetchable('https://example.com/a.jar', internet))).to.equal(
      'nothing thrown',
    );
    for (const url of [
      'http://example.com/a',
      'ftp://example.com/a',
      'https://u:p@example.com/a',
      'a.jar',
      'file:///etc/passwd',
    ]) {
      expect(await codeOfAsync(assertFetchable(url, internet)), url).to.equal('invalid-request');
    }
    const inside = [
      'https://127.0.0.1/a',
      'https://[::1]/a',
      'https://2130706433/a',
      'https://0x7f.1/a',
      'https://[::ffff:10.0.0.1]/a',
    ];
    for (const url of inside)
      expect(await codeOfAsync(assertFetchable(url, internet)), url).to.equal('private-address');
  });

  it('are judged by every address of their name; one that does not resolve is left to the download', async () => {
    const half = { allowPrivate: false, resolve: () => Promise.resolve(['1.1.1.1', '10.0.0.1']) };
    expect(await codeOfAsync(assertFetchable('https://example.com/a', half))).to.equal('private-address');
    const lost = { allowPrivate: false, resolve: () => Promise.reject(new Error('ENOTFOUND')) };
    expect(await codeOfAsync(assertFetchable('https://example.com/a', lost))).to.equal('nothing thrown');
  });

  it('may be private and http in development, never with credentials', async () => {
    const development = { allowPrivate: true };
    expect(await codeOfAsync(assertFetchable('http://127.0.0.1:9000/server.jar', development))).to.equal(
      'nothing thrown',
    );
    expect(await codeOfAsync(assertFetchable('http://u:p@127.0.0.1/a', development))).to.equal(
      'invalid-request',
    );
    expect(await codeOfAsync(assertFetchable('file:///etc/passwd', development))).to.equal('invalid-request');
  });
});
