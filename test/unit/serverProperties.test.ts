import { expect } from 'chai';
import fc from 'fast-check';
import { changeProperties, readProperties } from '#src/domain/serverProperties.js';

const OPERATORS = [
  '#Minecraft server properties',
  '! another comment: server-port=1',
  '  motd = Caf\\u00e9 §a=b',
  'server-port : 25500',
  '',
  'generator-settings={\\',
  '   "a"\\: 1\\',
  '}',
  'key\\ with\\=all\\:of\\#it   value ends with a space ',
  'flag',
  'resource-pack=https\\://example.org/pack.zip',
  'max-players=5',
].join('\n');

/** Whatever a file may hold, mostly what has a meaning. */
const file = fc
  .array(
    fc.oneof(
      fc.constantFrom('\n', '\r\n', '\r', '\\', '=', ':', ' ', '\t', '#', '!', 'a', 'b', '\\u0061', '\\n'),
      fc.string({ maxLength: 4 }),
      fc.constant('\u00e9'),
    ),
    { maxLength: 40 },
  )
  .map(parts => Buffer.from(parts.join(''), 'latin1').toString('latin1'));
const key = fc.string({ minLength: 1, maxLength: 6, unit: 'binary' });
const value = fc.string({ maxLength: 8, unit: 'binary' });

describe('server.properties', () => {
  it('is read with its escapes, separators and continued lines', () => {
    expect(readProperties(OPERATORS)).to.deep.equal({
      motd: 'Café §a=b',
      'server-port': '25500',
      'generator-settings': '{"a": 1}',
      'key with=all:of#it': 'value ends with a space ',
      flag: '',
      'resource-pack': 'https://example.org/pack.zip',
      'max-players': '5',
    });
  });

  it('is read as UTF-8 where it is that, and as latin1 where it is not', () => {
    expect(readProperties(Buffer.from('motd=§aCafé').toString('latin1'))).to.deep.equal({ motd: '§aCafé' });
    expect(readProperties('motd=Caf\u00e9')).to.deep.equal({ motd: 'Café' });
  });

  it('of a key that stands there twice has the last value, and a change reaches both', () => {
    expect(readProperties('a=1\nb=2\na=3\n')).to.deep.equal({ a: '3', b: '2' });
    expect(changeProperties('a=1\nb=2\na=3\n', { a: '4' })).to.equal('a=4\nb=2\na=4\n');
  });

  it('keeps comments, order, spelling and unknown keys when some change', () => {
    const changed = changeProperties(OPERATORS, {
      'max-players': '20',
      motd: 'Café §a=b',
      'server-port': null,
    });
    expect(changed).to.equal(
      OPERATORS.replace('max-players=5', 'max-players=20').replace('server-port : 25500\n', ''),
    );
  });

  it('gets new keys at its end, on lines of their own, with the line ends of the file', () => {
    expect(changeProperties('', { a: '1' })).to.equal('a=1\n');
    expect(changeProperties('a=b', { c: 'd' })).to.equal('a=b\nc=d\n');
    expect(changeProperties('a=b\r\n', { a: 'x', c: 'd' })).to.equal('a=x\r\nc=d\r\n');
    expect(readProperties(changeProperties('a=b\\', { c: 'd' }))).to.deep.equal({ a: 'b', c: 'd' });
  });

  it('is written in ASCII, as Java writes it', () => {
    expect(changeProperties('', { 'a b': '  §:\\\n', 'x=y': '#1!' })).to.equal(
      'a\\ b=\\  \\u00a7\\:\\\\\\n\nx\\=y=\\#1\\!\n',
    );
  });

  it('has the values that were set, whatever they and the file are', () => {
    fc.assert(
      fc.property(file, fc.dictionary(key, value), (text, changes) => {
        const after = readProperties(changeProperties(text, changes));
        expect(after).to.deep.equal({ ...readProperties(text), ...changes });
      }),
      { numRuns: 500 },
    );
  });

  it('keeps every line of every other key, byte for byte, and all of them when nothing changes', () => {
    fc.assert(
      fc.property(file, key, value, (text, added, set) => {
        expect(changeProperties(text, readProperties(text))).to.equal(text);
        fc.pre(!Object.hasOwn(readProperties(text), added));
        const grown = changeProperties(text, { [added]: set });
        expect(grown.startsWith(text)).to.equal(true);
        expect(readProperties(changeProperties(grown, { [added]: null }))).to.deep.equal(
          readProperties(text),
        );
      }),
      { numRuns: 500 },
    );
  });
});
