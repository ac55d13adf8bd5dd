import { expect } from 'chai';
import fc from 'fast-check';
import { parseChannel } from '#src/contracts/events.js';
import { AppError } from '#src/domain/errors.js';
import type { Actor, Role } from '#src/domain/permissions.js';
import type { Scope } from '#src/domain/scopes.js';
import { channelDenial, type AccessFacts } from '#src/realtime/access.js';
import { decodeCursor, encodeCursor } from '#src/contracts/cursor.js';
import { createInbound } from '#src/realtime/inbound.js';

describe('a cursor', () => {
  it('finds its place again', () => {
    fc.assert(
      fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), seq => {
        expect(decodeCursor(encodeCursor(seq))).to.equal(seq);
      }),
    );
  });

  it('is refused when we did not make it', () => {
    const made = (text: string) => Buffer.from(text).toString('base64url');
    const strangers = [
      '',
      '7',
      made('v2:7'),
      made('v1:'),
      made('v1:-1'),
      made('v1:07'),
      made('v1:1e3'),
      'x'.repeat(500),
    ];
    for (const cursor of [
      ...strangers,
      `${encodeCursor(7)}=`,
      ` ${encodeCursor(7)}`,
      made('v1:9007199254740993'),
    ]) {
      expect(() => decodeCursor(cursor), cursor)
        .to.throw(AppError)
        .with.property('code', 'invalid-request');
    }
  });

  it('is refused or read, whatever it is', () => {
    fc.assert(
      fc.property(fc.string(), text => {
        try {
          expect(encodeCursor(decodeCursor(text))).to.equal(text);
        } catch (error) {
          expect(error).to.be.instanceOf(AppError);
        }
      }),
    );
  });
});

describe('who may watch a channel', () => {
  const SERVER = '11111111-1111-4111-8111-111111111111';
  const GONE = '22222222-2222-4222-8222-222222222222';
  const OF_SERVER = '33333333-3333-4333-8333-333333333333';
  const OF_GONE = '44444444-4444-4444-8444-444444444444';
  /** Who is neither the owner nor a member, who asked for an operation elsewhere, and admins. */
  const STRANGERS = ['not-found', 'not-found', 'yes'];
  const facts = (member: 'console.read'[] | null): AccessFacts => ({
    servers: new Map([[SERVER, { owner_id: 'owner', member }]]),
    operations: new Map([
      [OF_SERVER, { server_id: SERVER, requested_by: 'owner' }],
      [OF_GONE, { server_id: GONE, requested_by: 'asker' }],
    ]),
  });
  const decide = (id: string, role: Role, name: string, member: 'console.read'[] | null = null) => {
    const channel = parseChannel(name);
    if (!channel) throw new Error(name);
    return channelDenial({ id, role }, channel, facts(member)) ?? 'yes';
  };

  const everyone = {
    owner: (name: string) => decide('owner', 'user', name),
    'member who may read the console': (name: string) => decide('m', 'user', name, ['console.read']),
    'member with no permission': (name: string) => decide('m', 'user', name, []),
    'viewer who is a member': (name: string) => decide('v', 'viewer', name, ['console.read']),
    stranger: (name: string) => decide('s', 'user', name),
    'who asked for the operation': (name: string) => decide('asker', 'user', name),
    admin: (name: string) => decide('a', 'admin', name),
  };
  const table: Record<string, [channel: string, ...answers: string[]]> = {
    'the status of a server': [`server:${SERVER}:status`, 'yes', 'yes', 'yes', 'yes', ...STRANGERS],
    'its metrics': [`server:${SERVER}:metrics`, 'yes', 'yes', 'yes', 'yes', ...STRANGERS],
    'its operations': [`server:${SERVER}:operations`, 'yes', 'yes', 'yes', 'yes', ...STRANGERS],
    'its console': [`server:${SERVER}:logs`, 'yes', 'yes', 'forbidden', 'yes', ...STRANGERS],
    'a server that is gone': [`server:${GONE}:status`, ...Array<string>(7).fill('not-found')],
    'an operation of a server': [`operation:${OF_SERVER}`, 'yes', 'yes', 'yes', 'yes', ...STRANGERS],
    'an operation whose server is gone': [
      `operation:${OF_GONE}`,
      ...Array<string>(5).fill('not-found'),
      'yes',
      'yes',
    ],
    'an operation that never was': [`operation:${GONE}`, ...Array<string>(7).fill('not-found')],
    'the agents': ['agents', ...Array<string>(6).fill('forbidden'), 'yes'],
    'one’s own notifications': ['user:notifications', ...Array<string>(7).fill('yes')],
  };
  for (const [title, [channel, ...answers]] of Object.entries(table)) {
    it(title, () => {
      const got = Object.entries(everyone).map(([who, ask]) => [who, ask(channel)]);
      expect(got).to.deep.equal(Object.keys(everyone).map((who, i) => [who, answers[i]]));
    });
  }
});

describe('what an API key may watch', () => {
  const SERVER = '11111111-1111-4111-8111-111111111111';
  const facts: AccessFacts = {
    servers: new Map([[SERVER, { owner_id: 'owner', member: null }]]),
    operations: new Map(),
  };
  const decide = (actor: Actor, name: string) => {
    const channel = parseChannel(name);
    if (!channel) throw new Error(name);
    return channelDenial(actor, channel, facts) ?? 'yes';
  };

  it('is what its owner may, with the scope `read`; the agents take `admin`', () => {
    const key = (role: Role, ...scopes: Scope[]): Actor => ({ id: 'owner', role, scopes });
    for (const name of [`server:${SERVER}:logs`, `server:${SERVER}:status`, 'user:notifications']) {
      expect(decide(key('user', 'read'), name)).to.equal('yes');
      expect(decide(key('user', 'power', 'console'), name)).to.equal('insufficient-scope');
    }
    expect(decide({ id: 'stranger', role: 'user', scopes: ['read'] }, `server:${SERVER}:logs`)).to.equal(
      'not-found',
    );
    expect(decide(key('admin', 'read'), 'agents')).to.equal('insufficient-scope');
    expect(decide(key('admin', 'admin'), 'agents')).to.equal('yes');
    expect(decide(key('user', 'admin'), 'agents')).to.equal('forbidden');
  });
});

describe('what one client may ask for', () => {
  it('is a burst, then twenty a second', async () => {
    let now = 0;
    const inbound = createInbound(() => now);
    const ask = async (times: number) => {
      let passed = 0;
      for (let n = 0; n < times; n++) await inbound.admit(async () => passed++).catch(() => undefined);
      return passed;
    };
    expect(await ask(1_000)).to.equal(200);
    now += 1_000;
    expect(await ask(100)).to.equal(20);
    now += 3_600_000;
    expect(await ask(1_000)).to.equal(200);
  });

  it('may be asked for again once a second, but not in a flood', async () => {
    let now = 0;
    const inbound = createInbound(() => now);
    const ask = async (times: number) => {
      for (let n = 0; n < times; n++) await inbound.admit(async () => n).catch(() => undefined);
    };
    await ask(200);
    for (let second = 0; second < 600; second++) {
      await ask(50);
      expect(inbound.flooding).to.equal(false);
      now += 1_000;
    }
    // Getting through now and then does not make it less of one.
    for (let turn = 0; turn < 40; turn++) {
      await ask(10);
      now += 50;
    }
    expect(inbound.flooding).to.equal(true);
  });

  it('is not more than 200 things at a time, and one that fails makes room like one that succeeds', async () => {
    let now = 0;
    const inbound = createInbound(() => now);
    const { promise, reject } = deferred();
    const waiting = Array.from({ length: 200 }, () => inbound.admit(() => promise));
    now += 60_000;
    const refused: unknown = await inbound.admit(async () => 'in').catch((error: unknown) => error);
    expect(refused).to.have.property('code', 'rate-limited');
    reject(new Error('no'));
    await Promise.allSettled(waiting);
    expect(await inbound.admit(async () => 'in')).to.equal('in');
  });
});

function deferred() {
  let reject: (reason: Error) => void = () => undefined;
  const promise = new Promise<never>((_, refuse) => {
    reject = refuse;
  });
  return { promise, reject: (reason: Error) => reject(reason) };
}
