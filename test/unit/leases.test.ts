import { expect } from 'chai';
import fc from 'fast-check';
import { canLease, livesUnderLease, staleOf } from '#src/domain/leases.js';
import { covers, encodeGrant, grantOf } from '../../agent/lease/grant.js';
import { pauseMs } from '../../agent/lease/renewal.js';
import { decodeAnswer } from '../../agent/lease/renewalCall.js';

const BOOT = 'd5c9bd56-0000-4000-8000-000000000000';

describe('living under a lease', () => {
  const able = { can: ['work', 'leases'] };

  it('takes a policy that allows a failover, and an agent that can lease', () => {
    expect(livesUnderLease('auto', able)).to.equal(true);
    expect(livesUnderLease('manual', able)).to.equal(true);
    expect(livesUnderLease('never', able)).to.equal(false);
    for (const policy of ['auto', 'manual', 'never'] as const)
      expect(livesUnderLease(policy, { can: ['work'] }), policy).to.equal(false);
  });

  it('is nothing that an agent can do which has not said so', () => {
    for (const said of [null, {}, { can: 'leases' }, { can: {} }, { leases: true }])
      expect(canLease(said), JSON.stringify(said)).to.equal(false);
  });

  it('is not for servers of others, nor for those of an older epoch', () => {
    const owned = [
      { id: 'a', epoch: 1 },
      { id: 'b', epoch: 3 },
    ];
    const reported = [
      { id: 'a', epoch: 1 },
      { id: 'b', epoch: 2 },
      { id: 'c', epoch: 1 },
    ];
    expect(staleOf(reported, owned).map(({ id }) => id)).to.deep.equal(['b', 'c']);
    expect(staleOf([{ id: 'a', epoch: 2 }], owned), 'from the future').to.deep.equal([]);
  });
});

describe('a grant', () => {
  const seconds = () => fc.double({ min: 0, max: 1e9, noNaN: true });
  const ttl = () => fc.integer({ min: 1, max: 24 * 3600 * 1000 });

  it('never covers a moment after t0 + TTL, whenever its answer comes', () => {
    fc.assert(
      fc.property(seconds(), ttl(), fc.double({ min: 0, max: 1e6, noNaN: true }), (sentAt, ttlMs, later) => {
        const end = sentAt + ttlMs / 1000;
        expect(covers(grantOf(BOOT, sentAt, ttlMs), BOOT, end + later)).to.equal(false);
      }),
    );
  });

  it('loses less than a second to rounding, and covers the moment of its request', () => {
    fc.assert(
      fc.property(seconds(), fc.integer({ min: 2_000, max: 86_400_000 }), (sentAt, ttlMs) => {
        const grant = grantOf(BOOT, sentAt, ttlMs);
        expect(sentAt + ttlMs / 1000 - grant.until).to.be.within(0, 1);
        expect(covers(grant, BOOT, sentAt)).to.equal(true);
        expect(covers(grant, BOOT, grant.until - 0.001)).to.equal(true);
      }),
    );
  });

  it('means nothing in another boot, nor before it was given', () => {
    const grant = grantOf(BOOT, 1000.7, 10_000);
    expect(covers(grant, 'another', 1005)).to.equal(false);
    expect(covers(grant, BOOT, 999.9)).to.equal(false);
  });

  it('is written as the guard reads it', () => {
    expect(encodeGrant(grantOf(BOOT, 1000.7, 10_400))).to.equal(`${BOOT} 1000 1011\n`);
  });
});

describe('an answer to a renewal', () => {
  const server = { id: '0f0e0d0c-0000-4000-8000-000000000000', epoch: 1, leased: true };
  const answer = { lease_seq: 7, ttl_ms: 180_000, renew_ms: 15_000, servers: [server] };

  it('is taken whole', () => {
    const decoded = decodeAnswer(answer);
    expect(decoded).to.include({ seq: 7, ttlMs: 180_000, renewMs: 15_000 });
    expect(decoded?.servers.get(server.id)).to.deep.equal({ epoch: 1, leased: true });
  });

  it('is not taken in part', () => {
    for (const broken of [
      { ...answer, ttl_ms: 0 },
      { ...answer, ttl_ms: '180000' },
      { ...answer, ttl_ms: 1e12 },
      { ...answer, renew_ms: undefined },
      { ...answer, servers: {} },
      { ...answer, servers: [server, { ...server, id: '../../etc' }] },
      { ...answer, servers: [server, { ...server, leased: 'yes' }] },
      { ...answer, servers: [server, null] },
    ])
      expect(decodeAnswer(broken), JSON.stringify(broken)).to.equal(undefined);
  });
});

describe('the pause between renewals', () => {
  const random = () => fc.double({ min: 0, max: 1, noNaN: true });

  it('is never longer than the control plane said', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1e6 }),
        fc.integer({ min: 1, max: 1e6 }),
        random(),
        (n, renewMs, r) => {
          expect(pauseMs(n, renewMs, r)).to.be.within(0, renewMs);
        },
      ),
    );
  });

  it('is short after the first failures and grows', () => {
    expect([1, 2, 3].map(n => pauseMs(n, 15_000, 1))).to.deep.equal([500, 1000, 2000]);
    expect(pauseMs(100, 15_000, 1)).to.equal(15_000);
  });
});
