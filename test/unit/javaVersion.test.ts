import { expect } from 'chai';
import fc from 'fast-check';
import { refusesNewerJava, requiredJavaMajor } from '#src/domain/javaVersion.js';

describe('the Java that a Minecraft version needs', () => {
  const table: [version: string, java: number][] = [
    ['1.7.10', 8],
    ['1.8', 8],
    ['1.16.5', 8],
    ['1.17', 16],
    ['1.17.1', 16],
    ['1.18', 17],
    ['1.20.1', 17],
    ['1.20.4', 17],
    ['1.20.5', 21],
    ['1.20.6-rc1', 21],
    ['1.20.5-pre1', 21],
    ['1.21', 21],
    ['1.21.4', 21],
    ['1.21-pre1', 21],
    ['26.1', 25],
    ['26.1.2', 25],
    ['26.1-snapshot-3', 25],
    ['27.4', 25],
    ['24w14a', 21],
    ['b1.7.3', 21],
    ['2.0', 21],
    ['latest', 21],
    ['', 21],
    ['1.20.4.1', 21],
  ];
  for (const [version, java] of table) {
    it(`${version || '(nothing)'} runs on Java ${java}`, () =>
      expect(requiredJavaMajor(version)).to.equal(java));
  }

  it('is one that newer ones do not stand in for with Forge before 1.17, and with nothing else', () => {
    for (const version of ['1.7.10', '1.7.10_pre4', '1.12.2', '1.16.5'])
      expect(refusesNewerJava('forge', version), version).to.equal(true);
    for (const version of ['1.17', '1.17.1', '1.20.1', '26.1.2', 'latest'])
      expect(refusesNewerJava('forge', version), version).to.equal(false);
    expect(refusesNewerJava('vanilla', '1.12.2')).to.equal(false);
  });

  it('answers some Java for any text', () => {
    fc.assert(fc.property(fc.string(), text => [8, 16, 17, 21, 25].includes(requiredJavaMajor(text))));
  });
});
