import { expect } from 'chai';
import { compareVersions, isRelease } from '#src/domain/minecraftVersion.js';

describe('Minecraft versions', () => {
  it('are ordered from the oldest to the newest, whichever year their numbering is of', () => {
    const ordered = [
      '24w14a',
      'latest',
      '1.7.10_pre4',
      '1.7.10',
      '1.8',
      '1.20.1',
      '1.21',
      '1.21.4',
      '1.21.11-pre2',
      '1.21.11-rc3',
      '1.21.11-rc10',
      '1.21.11',
      '26.1-snapshot-3',
      '26.1-pre1',
      '26.1',
      '26.1.2',
      '26.10',
      '27.1',
    ];
    for (let seed = 1; seed < 8; seed++) {
      const mixed = ordered.toSorted((a, b) => ((a.length * seed) % 5) - ((b.length * seed) % 5));
      expect(mixed.sort(compareVersions)).to.deep.equal(ordered);
    }
    expect(compareVersions('26.1', '26.1')).to.equal(0);
  });

  it('are releases when they are numbers alone', () => {
    expect(['1.8', '1.21.11', '26.1', '26.1.2'].map(isRelease)).to.deep.equal([true, true, true, true]);
    for (const version of ['1.21-rc1', '26.3-snapshot-3', '24w14a', '1.14.2 Pre-Release 4', '26', ''])
      expect(isRelease(version), version).to.equal(false);
  });
});
