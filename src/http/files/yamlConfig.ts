import { isMap, isScalar, LineCounter, parseDocument, visit, type ScalarTag } from 'yaml';
import {
  isConfigList,
  isConfigObject,
  isSameConfig,
  mergeConfig,
  type ConfigRoot,
  type ConfigValue,
} from '#src/domain/configValue.js';
import { AppError } from '#src/domain/errors.js';
import { assertSameKind, parseConfigRoot, type ConfigFormat } from './configFormat.js';
import { assertBounded } from './yamlBounds.js';
import { createConfigNode, mergeIntoMap, printDocument, type Yaml } from './yamlEdit.js';
import { replaceScalars } from './yamlScalars.js';

/** Times what an anchor names may be repeated by aliases, weighed by its own. */
const ALIASES_MAX = 100;
const BOM = '\ufeff';

/**
 * YAML as servers read it: they have the booleans of YAML 1.1 (yes, on, off), and its merge keys. A change of single
 * values touches nothing but these; where keys or lists come and go, the file is printed anew, with its comments,
 * order, quotes, indentation and unknown tags.
 */
export const yamlConfig: ConfigFormat = {
  read: text => parseYaml(text).root,
  change(text, change) {
    const { document, root } = parseYaml(text);
    const before = document.contents === null && isConfigList(change) ? [] : root;
    assertSameKind(before, change);
    const wanted = mergeConfig(before, change);
    if (isSameConfig(root, wanted)) return text;
    const touched = replaceScalars(text, document, change);
    if (touched !== undefined && holds(touched, wanted)) return touched;
    const printed = print(text, document, change, wanted);
    if (printed !== undefined && holds(printed, wanted)) return printed;
    throw new AppError('invalid-request', {
      detail: 'The file shares values by anchors, so that this would change more, or less, than it names',
    });
  },
};

function print(text: string, document: Yaml, change: ConfigRoot, wanted: ConfigValue): string | undefined {
  if (isMap(document.contents) && isConfigObject(change) && isConfigObject(wanted)) {
    mergeIntoMap(document, document.contents, change, wanted);
  } else {
    document.contents = createConfigNode(document, wanted);
  }
  const printed = printOrNothing(document, text);
  return text.includes('\r\n') ? printed?.replaceAll(/\r?\n/g, '\r\n') : printed;
}

/** An alias whose anchor has been removed cannot be printed. */
function printOrNothing(document: Yaml, text: string): string | undefined {
  try {
    return (text.startsWith(BOM) ? BOM : '') + printDocument(document, text);
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('Unresolved alias')) return undefined;
    throw error;
  }
}

function holds(text: string, wanted: ConfigValue): boolean {
  try {
    return isSameConfig(parseYaml(text).root, wanted);
  } catch (error) {
    if (error instanceof AppError && error.code === 'invalid-config') return false;
    throw error;
  }
}

function parseYaml(text: string): { document: Yaml; root: ConfigRoot } {
  assertBounded(text);
  const lineCounter = new LineCounter();
  const document = parseDocument(text, {
    schema: 'core',
    merge: true,
    // Looked at below: the parser compares each key with all others.
    uniqueKeys: false,
    customTags: tags => [...tags.filter(tag => typeof tag === 'string' || tag.tag !== boolean.tag), boolean],
    prettyErrors: false,
    lineCounter,
  });
  const fault = document.errors[0] ?? repeatedKey(document);
  if (fault) {
    const { line, col } = lineCounter.linePos(fault.pos[0]);
    throw new AppError('invalid-config', { detail: `Line ${line}, column ${col}: ${fault.message}` });
  }
  return { document, root: document.contents === null ? {} : parseConfigRoot(resolve(document)) };
}

/** Some servers take the last of them, others do not start. */
function repeatedKey(document: Yaml): { pos: [number]; message: string } | undefined {
  let found: { pos: [number]; message: string } | undefined;
  visit(document, {
    Map(_key, map) {
      const seen = new Set<string>();
      for (const { key } of map.items) {
        const name = isScalar(key) ? String(key.value) : undefined;
        if (name === undefined || name === '<<') continue;
        if (seen.has(name))
          found ??= { pos: [(isScalar(key) && key.range?.[0]) || 0], message: `${name} stands there twice` };
        seen.add(name);
      }
    },
  });
  return found;
}

/** Throws `invalid-config` for aliases of nothing, and for more of them than a file of settings has. */
function resolve(document: Yaml): unknown {
  try {
    return document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch (error) {
    if (!(error instanceof ReferenceError || error instanceof TypeError)) throw error;
    const detail = `Its aliases cannot be followed: ${error.message}`;
    throw new AppError('invalid-config', { detail, cause: error });
  }
}

const BOOLEAN = /^(?:true|True|TRUE|yes|Yes|YES|on|On|ON|(false|False|FALSE|no|No|NO|off|Off|OFF))$/;

const boolean: ScalarTag = {
  tag: 'tag:yaml.org,2002:bool',
  default: true,
  identify: value => typeof value === 'boolean',
  test: BOOLEAN,
  resolve: isTrue,
  // As it was written, unless it has changed.
  stringify: ({ source, value }) =>
    source !== undefined && BOOLEAN.test(source) && isTrue(source) === value ? source : String(value),
};

function isTrue(word: string): boolean {
  return BOOLEAN.exec(word)?.[1] === undefined;
}
