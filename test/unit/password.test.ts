import { expect } from 'chai';
import { hashPassword, verifyPassword } from '#src/security/password.js';

describe('passwords', () => {
  it('are kept as argon2id with at least what OWASP asks for, salted', async () => {
    const [one, other] = [await hashPassword('a'), await hashPassword('a')];
    expect(one).to.match(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(one).not.to.equal(other);
  });

  it('match themselves and nothing else', async () => {
    const hash = await hashPassword('Grüße, 世界');
    expect(await verifyPassword(hash, 'Grüße, 世界')).to.equal(true);
    expect(await verifyPassword(hash, 'grüße, 世界')).to.equal(false);
    expect(await verifyPassword(hash, '')).to.equal(false);
  });

  it('take as long to refuse when there is no such user', async () => {
    const hash = await hashPassword('right');
    const known = () => verifyPassword(hash, 'wrong');
    const unknown = () => verifyPassword(undefined, 'wrong');
    const [knownMs, unknownMs] = await fastestOf(known, unknown);
    expect(unknownMs / knownMs).to.be.within(0.5, 2);
    expect(await unknown()).to.equal(false);
  });
});

/**
 * The least of several runs each, in milliseconds: what the work costs when nothing disturbs it. By turns, so that a
 * neighbour who takes the processor for a while takes it from both.
 */
async function fastestOf(
  one: () => Promise<unknown>,
  other: () => Promise<unknown>,
): Promise<[oneMs: number, otherMs: number]> {
  let [oneMs, otherMs] = [Infinity, Infinity];
  for (let run = 0; run < 15; run++) {
    oneMs = Math.min(oneMs, await timed(one));
    otherMs = Math.min(otherMs, await timed(other));
  }
  return [oneMs, otherMs];
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
