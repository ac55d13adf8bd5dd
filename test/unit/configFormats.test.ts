import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import fc from 'fast-check';
import { isSameConfig, mergeConfig, type ConfigRoot, type ConfigValue } from '#src/domain/configValue.js';
import { AppError } from '#src/domain/errors.js';
import { jsonConfig } from '#src/http/files/jsonConfig.js';
import { propertiesConfig } from '#src/http/files/propertiesConfig.js';
import { inUtf8 } from '#src/http/files/utf8.js';
import { yamlConfig } from '#src/http/files/yamlConfig.js';

const fixture = (name: string) => readFile(new URL(`../fixtures/config/${name}`, import.meta.url), 'utf8');

/** `invalid-config: Line 2, column 1: …`; undefined when nothing is thrown. */
const refusalOf = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error.message;
    throw error;
  }
};

/** The lines of `after` that are not those of `before`. */
const changedLines = (before: string, after: string): string[] => {
  const old = before.split('\n');
  return after.split('\n').filter((line, at) => line !== old[at]);
};

/** Nothing of JSON that a merge patch treats as a wish to remove. */
const { value: anyValue } = fc.letrec<{ value: ConfigValue }>(tie => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.boolean(),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(number => (Object.is(number, -0) ? 0 : number)),
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom('yes', 'off', 'n', '1:30', '0777', '2020-01-01', '', ' x', 'a: b', '# no', 'a\nb\n', '~'),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(
      fc.string().filter(key => key !== '__proto__'),
      tie('value'),
      { maxKeys: 3 },
    ),
  ),
}));
const anyObject = fc.dictionary(
  fc.string({ minLength: 1 }).filter(key => key !== '__proto__'),
  anyValue,
  { maxKeys: 4 },
);

describe('a change of a file of settings', () => {
  it('is merged as RFC 7396 has it', () => {
    const cases: [ConfigValue, ConfigValue, ConfigValue][] = [
      [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
      [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
      [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
      [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
      [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
      [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
      [{ a: 'foo' }, { a: { b: { c: null } } }, { a: { b: {} } }],
      [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    ];
    for (const [current, change, merged] of cases) {
      expect(mergeConfig(current, change), JSON.stringify(change)).to.deep.equal(merged);
    }
  });

  it('reads back as what was asked for, in every format', () => {
    const property = fc.property(anyObject, anyObject, (before, change) => {
      for (const format of [yamlConfig, jsonConfig]) {
        const text = format.change('', before);
        const wanted = mergeConfig(mergeConfig({}, before), change);
        expect(isSameConfig(format.read(format.change(text, change)), wanted), text).to.equal(true);
      }
    });
    fc.assert(property, { numRuns: 200 });
  });
});

describe('YAML', () => {
  for (const name of ['spigot.yml', 'paper-global.yml']) {
    it(`${name}: a change of values leaves every other byte as it was, a structural one every other line`, async () => {
      const text = await fixture(name);
      expect(yamlConfig.change(text, {})).to.equal(text);
      expect(yamlConfig.change(text.replaceAll('\n', '\r\n'), {})).to.equal(text.replaceAll('\n', '\r\n'));
      const grown = yamlConfig.change(text, { 'new-section': { list: ['a'], mode: 'on' } });
      const added = 'new-section:\n  list:\n  - a\n  mode: "on"\n';
      const folded = (yaml: string) => yaml.replace(/\n+/g, '\n').replace(/([^\n]) *\n +Please/, '$1 Please');
      expect(folded(grown)).to.equal(folded(text + added));
      expect(folded(yamlConfig.change(grown, { 'new-section': null }))).to.equal(folded(text));
      expect(yamlConfig.change(text.replaceAll('\n', '\r\n'), { x: 1 })).to.not.match(/[^\r]\n/);
    });
  }

  it('values of spigot.yml change in their own places, with comments, quotes and decimals', async () => {
    const text = await fixture('spigot.yml');
    const after = yamlConfig.change(text, {
      settings: { 'timeout-time': 90, attribute: { maxHealth: { max: 2048 } } },
      messages: { restart: 'Back: soon & "better"' },
      'world-settings': { default: { 'merge-radius': { item: 2.5 }, 'view-distance': 'off' } },
    });
    expect(changedLines(text, after)).to.deep.equal([
      '  timeout-time: 90',
      '      max: 2048.0',
      '  restart: "Back: soon & \\"better\\""',
      '    view-distance: "off"',
      '      item: 2.5 # was 2.5',
    ]);
    const listed = yamlConfig.change(text, { commands: { 'spam-exclusions': ['/skill', '/me'] } });
    expect(listed).to.contain('  spam-exclusions:\n  - /skill\n  - /me\n  replace-commands:');
    expect(listed).to.contain('    # Blocks\n    merge-radius:\n      item: 0.5 # was 2.5');
  });

  it('is what a server reads: yes and off are booleans, y is a key, tags and merge keys stay', () => {
    const text =
      'a: yes\nb: Off\nspawn: {x: 1, y: 2}\nd: 2020-01-01\nt: !!java.util.UUID "x"\nm: &m {k: 1}\nn:\n  <<: *m\n  o: 2\n1: one\ne:\n';
    expect(yamlConfig.read(text)).to.deep.equal({
      a: true,
      b: false,
      spawn: { x: 1, y: 2 },
      d: '2020-01-01',
      t: 'x',
      m: { k: 1 },
      n: { k: 1, o: 2 },
      1: 'one',
      e: null,
    });
    expect(yamlConfig.change(text, { b: null, 1: { two: 2 }, n: { o: 3 } })).to.equal(
      text.replace('b: Off\n', '').replace('1: one', '1:\n  two: 2').replace('o: 2', 'o: 3'),
    );
    expect(yamlConfig.change(text, { a: false })).to.equal(text.replace('yes', 'false'));
    expect(yamlConfig.read('')).to.deep.equal({});
    expect(yamlConfig.change('# only a comment\n', { a: 1 })).to.equal('# only a comment\n\na: 1\n');
    expect(yamlConfig.read('- 1\n- a\n')).to.deep.equal([1, 'a']);
  });

  it('that shares values by anchors never changes at a place that was not named', () => {
    const text = 'a: &a {k: 1}\nb: *a\n';
    expect(refusalOf(() => yamlConfig.change(text, { a: { k: 2 } }))).to.match(/^invalid-request: .*anchors/);
    expect(yamlConfig.read(yamlConfig.change(text, { b: { k: 2 } }))).to.deep.equal({
      a: { k: 1 },
      b: { k: 2 },
    });
    expect(refusalOf(() => yamlConfig.change(text, { a: null }))).to.match(/^invalid-request/);
  });

  it('that cannot be read is refused, with the place', () => {
    const cases: [string, RegExp][] = [
      ['a: 1\nb: [1, 2\nc: 3\n', /Line 3, column 1/],
      ['a: 1\na: 2\n', /Line 2, column 1: .*twice/],
      ['a:\n\tb: 1\n', /Line 2, column 1: .*[Tt]abs/],
      ['a: b: c\n', /Line 1, column 4/],
      ['a: "x\n', /Line 2, column 1/],
      ['a: 1\n---\nb: 2\n', /Line 2, column 1: .*multiple documents/],
      ['a: *nowhere\n', /aliases cannot be followed/],
      ['just a text\n', /neither keys nor a list/],
      ['__proto__: {admin: true}\n', /__proto__/],
      ['a: {b: &b {c: *b}}\n', /./],
    ];
    for (const [text, message] of cases) {
      const refusal = refusalOf(() => yamlConfig.read(text));
      expect(refusal, text).to.match(/^invalid-config/);
      expect(refusal, text).to.match(message);
      expect(
        refusalOf(() => yamlConfig.change(text, { z: 1 })),
        text,
      ).to.match(/^invalid-config/);
    }
  });

  it('that stands for gigabytes, or is nested without end, is refused at once', () => {
    const laughs = ['a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]'];
    for (let at = 1; at < 10; at++) {
      laughs.push(`a${at}: &a${at} [${Array.from({ length: 9 }, () => `*a${at - 1}`).join(', ')}]`);
    }
    const bombs: Record<string, string> = {
      'billion laughs': `settings:\n  ${laughs.join('\n  ')}\n`,
      'quadratic blow-up': `a: &a "${'x'.repeat(500_000)}"\nb: [${Array.from({ length: 90 }, () => '*a').join(', ')}]\n`,
      'a circle': 'a: &a [*a]\n',
      brackets: '['.repeat(1_000_000),
      braces: 'a: ' + '{a: '.repeat(200_000),
      dashes: '- '.repeat(500_000),
      'explicit keys': '? '.repeat(500_000),
      keys: Array.from({ length: 100_001 }, (_, at) => `k${at}: 1`).join('\n'),
      indentation: Array.from({ length: 1_400 }, (_, at) => `${' '.repeat(at)}a:`).join('\n'),
    };
    for (const [name, text] of Object.entries(bombs)) {
      const began = performance.now();
      expect(
        refusalOf(() => yamlConfig.read(text)),
        name,
      ).to.match(/^invalid-config/);
      expect(performance.now() - began, name).to.be.below(2_000);
    }
  });
});

describe('JSON', () => {
  it('keeps its indentation, order, line ends and last line', () => {
    const ops = '[\n  {\n    "uuid": "069a79f4-44e9-4726-a5be-fca90e38aaf5",\n    "name": "Notch"\n  }\n]';
    expect(jsonConfig.read(ops)).to.deep.equal([
      { uuid: '069a79f4-44e9-4726-a5be-fca90e38aaf5', name: 'Notch' },
    ]);
    expect(jsonConfig.change(ops, [{ name: 'a' }])).to.equal('[\n  {\n    "name": "a"\n  }\n]');
    expect(jsonConfig.change('{\r\n\t"b": 1,\r\n\t"a": {"c": 2}\r\n}\r\n', { b: 2 })).to.equal(
      '{\r\n\t"b": 2,\r\n\t"a": {\r\n\t\t"c": 2\r\n\t}\r\n}\r\n',
    );
    expect(jsonConfig.change('{"a":1}', { b: [1] })).to.equal('{"a":1,"b":[1]}');
    expect(jsonConfig.change('', [])).to.equal('[]\n');
  });

  it('says where it is broken, and refuses what it would spoil', () => {
    const cases: [string, RegExp][] = [
      ['{\n  "a": 1,\n  "b": x\n}', /Line 3, column 8/],
      ['{"a": 1,}', /Line 1, column 9/],
      ['[1, 2', /Line 1, column 6/],
      ['[1] 2', /Line 1, column 5/],
      ['{"a" 1}', /Line 1, column 6/],
      ["{'a': 1}", /Line 1, column 2/],
      ['{"a": 01}', /Line 1, column 7/],
      ['', /Line 1, column 1/],
      ['"text"', /neither keys nor a list/],
      ['{"__proto__": {}}', /__proto__/],
      ['['.repeat(500_000) + ']'.repeat(500_000), /levels deep/],
    ];
    for (const [text, message] of cases) {
      const refusal = refusalOf(() => jsonConfig.read(text));
      expect(refusal, text.slice(0, 40)).to.match(/^invalid-config/);
      expect(refusal, text.slice(0, 40)).to.match(message);
    }
    expect(refusalOf(() => jsonConfig.change('{"id": 12345678901234567890}', { a: 1 }))).to.match(
      /^invalid-config: Line 1, column 8/,
    );
    expect(refusalOf(() => jsonConfig.change('[]', { a: 1 }))).to.match(/^invalid-request/);
    expect(refusalOf(() => jsonConfig.change('{}', []))).to.match(/^invalid-request/);
  });

  it('is refused when it is no UTF-8', () => {
    expect(inUtf8(jsonConfig).read(Buffer.from('{"a": "§"}').toString('latin1'))).to.deep.equal({ a: '§' });
    expect(refusalOf(() => inUtf8(jsonConfig).read('{"a": "\xa7"}'))).to.match(/^invalid-config/);
  });
});

describe('.properties', () => {
  it('hold texts, and no lists', () => {
    const text = '#kept\nmotd=Hi\n';
    expect(propertiesConfig.change(text, { motd: null, pvp: false, n: 3 })).to.equal(
      '#kept\npvp=false\nn=3\n',
    );
    for (const change of [[], { a: [] }, { a: {} }] satisfies ConfigRoot[]) {
      expect(refusalOf(() => propertiesConfig.change(text, change))).to.match(/^invalid-request/);
    }
  });
});
