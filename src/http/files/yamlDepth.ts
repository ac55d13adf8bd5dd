import { CST, Lexer } from 'yaml';
import { faultAt } from './configFormat.js';

const FLOW_MAX = 64;
/** Columns: each level of a block is at least one further in. */
const INDENT_MAX = 200;

/**
 * Refuses what is nested so deep that the parser, which calls itself, would take the process with it. Only the lexer
 * runs here, which does not. Throws `invalid-config`.
 */
export function assertShallow(text: string): void {
  let at = 0;
  let flow = 0;
  let indent = 0;
  let isLineStart = true;
  for (const token of new Lexer().lex(text)) {
    const type = CST.tokenType(token);
    if (type === 'flow-seq-start' || type === 'flow-map-start') flow += 1;
    if (type === 'flow-seq-end' || type === 'flow-map-end') flow -= 1;
    if (type === 'flow-error-end') flow = 0;
    if (type === 'newline') indent = 0;
    if (type === 'space' && isLineStart) indent = token.length;
    // Several of them on a line are as many levels.
    if (type === 'seq-item-ind' || type === 'explicit-key-ind') indent += 1;
    const opensBlock = type === 'seq-item-ind' || type === 'explicit-key-ind' || type === 'map-value-ind';
    if (flow > FLOW_MAX || (flow <= 0 && opensBlock && indent > INDENT_MAX)) {
      throw faultAt(text, at, 'it is nested too deep');
    }
    isLineStart = type === 'newline';
    // Marks that the lexer adds are no part of the text.
    if (type !== 'doc-mode' && type !== 'flow-error-end' && type !== 'scalar') at += token.length;
  }
}
