/**
 * Splits `java_args` as people write them: at white space, with '…' and "…" kept together and \ for the next
 * character outside of '…'. Nothing is expanded; no shell ever sees the result. An open quote ends with the text.
 */
export function splitArguments(text: string): string[] {
  const args: string[] = [];
  let current: string | null = null;
  let quote: '"' | "'" | null = null;
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at);
    if (char === '\\' && quote !== "'" && at + 1 < text.length) {
      at += 1;
      current = (current ?? '') + text.charAt(at);
    } else if (quote !== null) {
      if (char === quote) quote = null;
      else current = (current ?? '') + char;
    } else if (char === '"' || char === "'") {
      quote = char;
      current ??= '';
    } else if (/\s/.test(char)) {
      if (current !== null) args.push(current);
      current = null;
    } else {
      current = (current ?? '') + char;
    }
  }
  if (current !== null) args.push(current);
  return args;
}
