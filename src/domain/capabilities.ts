/** What an agent said of itself in its hello; null before. */
export type Capabilities = Readonly<Record<string, unknown>> | null;

/** Whether the agent, as it was last heard, names that among what it can. */
export function canDo(capabilities: Capabilities, capability: string): boolean {
  const can: unknown = capabilities?.['can'];
  return Array.isArray(can) && can.includes(capability);
}
