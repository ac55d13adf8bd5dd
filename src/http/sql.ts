/** The WHERE of a list, grown condition by condition; values only ever travel as binds. */
export class SqlFilter {
  readonly bind: unknown[] = [];
  readonly #conditions: string[] = ['true'];

  /** The placeholder of a value that was added to the binds. */
  value(value: unknown): string {
    return `$${this.bind.push(value)}`;
  }

  where(condition: string): void {
    this.#conditions.push(condition);
  }

  /** Nothing is asked of an undefined value. */
  equals(column: string, value: unknown): void {
    if (value !== undefined) this.where(`${column} = ${this.value(value)}`);
  }

  /** Any of the columns holds the text, in any case. */
  contains(columns: readonly string[], text: string | undefined): void {
    if (text === undefined) return;
    const pattern = this.value(`%${text.replace(/[\\%_]/g, '\\$&')}%`);
    this.where(`(${columns.map(column => `${column} ILIKE ${pattern}`).join(' OR ')})`);
  }

  get sql(): string {
    return this.#conditions.join(' AND ');
  }
}

/** ` ORDER BY …`, from a `sort` that the schema has already checked; the id makes the order total. */
export function orderBy(sort: string, table: string): string {
  const column = sort.replace(/^-/, '');
  return `ORDER BY ${table}.${column} ${sort.startsWith('-') ? 'DESC' : 'ASC'}, ${table}.id`;
}

/** The pieces of an INSERT or UPDATE whose columns are known only now. Names come from our code, never from input. */
export function columnsOf(values: Readonly<Record<string, unknown>>, firstBind = 1) {
  const names = Object.keys(values);
  const placeholders = names.map((_, i) => `$${i + firstBind}`);
  return {
    names: names.join(', '),
    placeholders: placeholders.join(', '),
    assignments: names.map((name, i) => `${name} = ${placeholders[i]}`).join(', '),
    bind: Object.values(values),
  };
}
