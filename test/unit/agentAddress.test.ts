import type { LookupAddress } from 'node:dns';
import { expect } from 'chai';
import fc from 'fast-check';
import { isPrivateAddress } from '#src/security/publicUrl.js';
import { AgentError } from '../../agent/errors.js';
import {
  addressRule,
  guardedLookup,
  isPrivateAddress as isPrivateForAgent,
} from '../../agent/work/address.js';

const internet = addressRule(false);

/** One lookup as `connect` asks for it; the code of what it failed with, else the addresses to dial. */
function look(answers: string[][], all = true): Promise<string | LookupAddress[]> {
  const lookup = guardedLookup(internet, (_host, _options, done) =>
    done(
      null,
      (answers.shift() ?? []).map(address => ({ address, family: address.includes(':') ? 6 : 4 })),
    ),
  );
  return new Promise(resolve => {
    lookup('example.com', { all }, (error, address) => {
      resolve(error instanceof AgentError ? error.code : error ? String(error) : address);
    });
  });
}

describe('addresses that an agent dials', () => {
  it('are judged as the control plane judges them', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), address => {
        expect(isPrivateForAgent(address)).to.equal(isPrivateAddress(address));
      }),
    );
    for (const address of [
      '127.0.0.1',
      '169.254.169.254',
      '::1',
      'fe80::1',
      '::ffff:10.0.0.1',
      '2002:7f00:1::',
    ])
      expect([isPrivateForAgent(address), isPrivateAddress(address)], address).to.deep.equal([true, true]);
    for (const address of ['1.1.1.1', '172.32.0.1', '2606:4700::1111', '::ffff:1.1.1.1'])
      expect([isPrivateForAgent(address), isPrivateAddress(address)], address).to.deep.equal([false, false]);
  });

  it('are those that were checked: a name that turns private between two lookups is dialled by neither', async () => {
    const answers = [['1.1.1.1'], ['10.0.0.1']];
    expect(await look(answers)).to.deep.equal([{ address: '1.1.1.1', family: 4 }]);
    expect(await look(answers)).to.equal('private-address');
  });

  it('are refused with their name when one of them is private, however many are asked for', async () => {
    for (const all of [true, false])
      expect(await look([['1.1.1.1', '169.254.169.254']], all)).to.equal('private-address');
    expect(await look([['1.1.1.1', '2606:4700::1111']], false)).to.equal('1.1.1.1');
    expect(await look([[]])).to.include('no address');
  });

  it('may be private where the operator says so', () => {
    expect(addressRule(true)('127.0.0.1')).to.equal(false);
  });
});
