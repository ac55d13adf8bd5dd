import { expect } from 'chai';
import { decodePayload } from '#src/bus/decode.js';

describe('a poke from another process', () => {
  it('of samples names servers and a place, or is not understood', () => {
    const poke = { server_ids: ['a', 'b'], head: 7 };
    expect(decodePayload.samples({ ...poke, more: 1 })).to.deep.equal(poke);
    for (const bad of [null, 7, {}, { head: 7 }, { ...poke, head: '7' }, { ...poke, server_ids: ['a', 1] }]) {
      expect(decodePayload.samples(bad), JSON.stringify(bad)).to.equal(null);
    }
  });

  it('of notifications names their user, or is not understood', () => {
    expect(decodePayload.notifications({ user_id: 'u' })).to.deep.equal({ user_id: 'u' });
    for (const bad of [null, 'u', {}, { user_id: 1 }])
      expect(decodePayload.notifications(bad)).to.equal(null);
  });
});
