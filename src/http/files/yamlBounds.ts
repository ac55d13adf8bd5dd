import { CST, Lexer } from 'yaml';
import { faultAt } from './configFormat.js';

/** The parser takes some 10 µs for each, and everyone waits: this is half a megabyte of usual YAML. */
const TOKENS_MAX = 50_000;
const FLOW_MAX = 64;
/** Columns: each level of a block is at least one further in. */
const INDENT_MAX = 200;

/**
 * Refuses what is nested so deep that the parser, which calls itself, would take the process with it, and what would
 * keep it busy for seconds. Only the lexer runs here. Throws `invalid-config`.
 */
export function assertBounded(text: string): void {
  let at = 0;
  let tokens = 0;
  let flow = 0;
  let indent = 0;
  let isLineStart = true;
  for (const token of new Lexer().lex(text)) {
    tokens += 1;
    if (tokens > TOKENS_MAX) throw faultAt(text, at, `here are more than ${TOKENS_MAX} tokens`);
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
