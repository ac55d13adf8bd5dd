export interface ChecklistItem {
  title: string;
  state: 'doing' | 'done' | 'failed';
}

const MARKS: Record<ChecklistItem['state'], string> = {
  doing: '- [ ] ⏳',
  done: '- [x]',
  failed: '- [ ] ❌',
};

/** What the operator sees on the workflow's page while it runs. Bounded by the steps of one operation. */
export class Checklist {
  readonly #items: ChecklistItem[] = [];
  readonly #show: (markdown: string) => void;

  constructor(show: (markdown: string) => void) {
    this.#show = show;
  }

  items(): ChecklistItem[] {
    return this.#items.map(item => ({ ...item }));
  }

  async during<T>(title: string, work: () => Promise<T>): Promise<T> {
    const item: ChecklistItem = { title, state: 'doing' };
    this.#items.push(item);
    this.#render();
    try {
      const result = await work();
      item.state = 'done';
      return result;
    } catch (error) {
      item.state = 'failed';
      throw error;
    } finally {
      this.#render();
    }
  }

  #render(): void {
    this.#show(this.#items.map(item => `${MARKS[item.state]} ${item.title}`).join('\n'));
  }
}
