import {
  isCollection,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Scalar,
  visit,
  type Document,
  type Node,
  type Pair,
  type YAMLMap,
} from 'yaml';
import { isConfigObject, type ConfigObject, type ConfigValue } from '#src/domain/configValue.js';

/** Not `Document.Parsed`: what is put into it was not. */
export type Yaml = Document<Node, boolean>;

/** Plain, a parser of YAML 1.1 may take it for a boolean, null, a number in some notation, a date or a merge. */
const AMBIGUOUS = /^(?:[-+.\d].*|[yn]|yes|no|on|off|true|false|null|~|=|<<)?$/i;

export function isAmbiguous(text: string): boolean {
  return AMBIGUOUS.test(text);
}

/** The pair of a key, which may be a number in the file. */
export function findPair(map: YAMLMap, key: string): Pair | undefined {
  return map.items.find(pair => (isScalar(pair.key) ? String(pair.key.value) : String(pair.key)) === key);
}

/** Makes the map what is wanted, touching the nodes of the change alone: all others keep their looks. */
export function mergeIntoMap(document: Yaml, map: YAMLMap, change: ConfigObject, wanted: ConfigObject): void {
  for (const [key, value] of Object.entries(change)) {
    const pair = findPair(map, key);
    const whole = wanted[key];
    if (whole === undefined) {
      if (pair) map.items.splice(map.items.indexOf(pair), 1);
    } else if (!pair) {
      map.items.push(document.createPair(createConfigNode(document, key), createConfigNode(document, whole)));
    } else if (isMap(pair.value) && isConfigObject(value) && isConfigObject(whole)) {
      mergeIntoMap(document, pair.value, value, whole);
    } else {
      pair.value = takePlace(pair.value, createConfigNode(document, whole));
    }
  }
}

export function createConfigNode(document: Yaml, value: ConfigValue): Node {
  const node = document.createNode(value, { aliasDuplicateObjects: false });
  visit(node, {
    Scalar(_key, scalar) {
      if (typeof scalar.value === 'string' && isAmbiguous(scalar.value)) scalar.type = Scalar.QUOTE_DOUBLE;
    },
  });
  return node;
}

/** With the comments and the style of what was there. */
function takePlace(old: unknown, node: Node): Node {
  if (!isNode(old)) return node;
  node.comment = old.comment ?? null;
  node.commentBefore = old.commentBefore ?? null;
  node.spaceBefore = old.spaceBefore ?? false;
  if (isScalar(old) && isScalar(node) && old.type !== undefined && old.type !== Scalar.PLAIN) {
    if (typeof node.value === 'string') node.type = old.type;
  }
  if (isCollection(old) && isCollection(node) && isSeq(old) === isSeq(node)) node.flow = old.flow ?? false;
  return node;
}

/** In the indentation of the text that it was made from. */
export function printDocument(document: Yaml, text: string): string {
  return document.toString({
    indent: indentOf(text),
    indentSeq: hasIndentedLists(text),
    lineWidth: 0,
    flowCollectionPadding: /[{[][^\S\r\n]+[^\s#]/.test(text),
  });
}

/** That of the first line below a key. */
function indentOf(text: string): number {
  const [, spaces = ''] =
    /^[\w.-]+:[^\S\r\n]*(?:#.*)?(?:\r?\n[^\S\r\n]*(?:#.*)?)*\r?\n( +)[^\s#-]/m.exec(text) ?? [];
  return spaces.length === 0 || spaces.length > 8 ? 2 : spaces.length;
}

/** Bukkit and Paper do not indent them, people often do. */
function hasIndentedLists(text: string): boolean {
  const [, ofKey, ofItem] = /^( *)[^\s#-][^\r\n]*:[^\S\r\n]*\r?\n( *)- /m.exec(text) ?? [];
  return (ofItem?.length ?? 0) > (ofKey?.length ?? 0);
}
