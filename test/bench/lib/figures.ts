/** A number that a benchmark stands for, in the unit that its name is read with. */
export interface Figure {
  name: string;
  value: number;
  unit: 'ms' | 's' | 'MB' | '/s' | '%' | '';
  /** What the project promises; absent = only told. */
  aim?: Aim;
  /** Spread, sample size: what one must know to compare it with another run. */
  note?: string;
}

export type Aim = { atMost: number } | { atLeast: number };

export interface Benchmark {
  /** What it is called on the command line. */
  name: string;
  /** One sentence: what is measured, against what. */
  about: string;
  /** Sets everything up, measures, takes everything down; `say` tells what is going on. */
  measure(say: (line: string) => void): Promise<Figure[]>;
}

/** The value that `share` (0 … 1) of the samples do not exceed, by the nearest rank. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (value === undefined) throw new Error('no samples');
  return value;
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  if (upper === undefined || lower === undefined) throw new Error('no samples');
  return (upper + lower) / 2;
}

/** `n=9, 12.1 … 30.2`: how many, the least and the most. */
export function spreadOf(samples: readonly number[]): string {
  return `n=${samples.length}, ${round(Math.min(...samples))} … ${round(Math.max(...samples))}`;
}

/** Three significant digits, or all of those before the point. */
export function round(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

export function isMet({ value, aim }: Figure): boolean | undefined {
  if (!aim) return undefined;
  return 'atMost' in aim ? value <= aim.atMost : value >= aim.atLeast;
}

/** The figures as a Markdown table that also reads well on a terminal. */
export function tableOf(figures: readonly Figure[]): string {
  const rows = figures.map(figure => {
    const { name, value, unit, aim, note = '' } = figure;
    const met = isMet(figure);
    return [
      name,
      `${round(value)} ${unit}`.trim(),
      aim ? `${'atMost' in aim ? `≤ ${aim.atMost}` : `≥ ${aim.atLeast}`} ${unit}`.trim() : '–',
      met === undefined ? '' : met ? 'met' : '**not met**',
      note,
    ];
  });
  const lines = [['figure', 'measured', 'aim', '', 'spread'], ...rows];
  const widths = lines[0]?.map((_, at) => Math.max(...lines.map(line => line[at]?.length ?? 0))) ?? [];
  const render = (cells: readonly string[]): string =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = lines;
  return [
    render(head),
    `|${widths.map(width => '-'.repeat(width + 2)).join('|')}|`,
    ...body.map(render),
  ].join('\n');
}
