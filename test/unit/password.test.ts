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

  it('are worked for as hard when there is no such user', async () => {
    const hash = await hashPassword('right');
    const known = await fastest(() => verifyPassword(hash, 'wrong'));
    const unknown = await fastest(() => verifyPassword(undefined, 'wrong'));
    // Both are some 20 ms; a shortcut would be a hundredth of it. A busy machine may well double one of them.
    expect(unknown).to.be.above(known / 5);
    expect(await verifyPassword(undefined, 'wrong')).to.equal(false);
  });
});

/** The least of several runs, in milliseconds: what the work costs when nothing disturbs it. */
async function fastest(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < 5; run++) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  return Math.min(...times);
}
