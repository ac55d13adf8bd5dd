import { isMap, isScalar, Scalar, type YAMLMap } from 'yaml';
import {
  isConfigObject,
  type ConfigObject,
  type ConfigRoot,
  type ConfigValue,
} from '#src/domain/configValue.js';
import { findPair, isAmbiguous, type Yaml } from './yamlEdit.js';

interface Splice {
  from: number;
  to: number;
  text: string;
}

/**
 * The text with single values replaced in place, all else byte for byte as it was; undefined where the change asks for
 * more than that. The caller reads the result and compares: a value may be shared by an anchor.
 */
export function replaceScalars(text: string, { contents }: Yaml, change: ConfigRoot): string | undefined {
  const splices: Splice[] = [];
  if (!isMap(contents) || !isConfigObject(change) || !collect(text, contents, change, splices))
    return undefined;
  return splices
    .sort((a, b) => b.from - a.from)
    .reduce((result, { from, to, text: value }) => result.slice(0, from) + value + result.slice(to), text);
}

function collect(text: string, map: YAMLMap, change: ConfigObject, splices: Splice[]): boolean {
  return Object.entries(change).every(([key, value]) => {
    const node = findPair(map, key)?.value;
    if (isMap(node) && isConfigObject(value)) return collect(text, node, value, splices);
    if (!isScalar(node) || typeof value === 'object') return false;
    const [from, to] = node.range ?? [0, 0];
    const isBlock = node.type === Scalar.BLOCK_LITERAL || node.type === Scalar.BLOCK_FOLDED;
    if (from === to || isBlock) return false;
    if (node.value !== value)
      splices.push({ from, to, text: printScalar(value, node, text.slice(from, to)) });
    return true;
  });
}

function printScalar(value: ConfigValue, { type }: Scalar, old: string): string {
  // A decimal number stays one.
  if (typeof value === 'number' && Number.isInteger(value) && /^-?\d+\.\d+$/.test(old))
    return value.toFixed(1);
  if (typeof value !== 'string') return JSON.stringify(value);
  if (type === Scalar.QUOTE_SINGLE && /^[\x20-\x7e]*$/.test(value)) return `'${value.replaceAll("'", "''")}'`;
  const isPlain =
    type === Scalar.PLAIN && /^[A-Za-z](?:[\w ./-]*[\w./-])?$/.test(value) && !isAmbiguous(value);
  return isPlain ? value : JSON.stringify(value);
}
