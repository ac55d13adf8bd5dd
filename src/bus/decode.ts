import type { BusTopic, BusTopics, ConsoleLine } from './bus.js';

/**
 * What came over the wire, or null when it is not what this version calls a payload: during a rolling upgrade the
 * sender may be newer or older.
 */
export const decodePayload: { [T in BusTopic]: (value: unknown) => BusTopics[T] | null } = {
  'operation-events': value => {
    if (!isRecord(value) || typeof value['operation_id'] !== 'string') return null;
    const serverId = value['server_id'];
    if (serverId !== null && typeof serverId !== 'string') return null;
    return { operation_id: value['operation_id'], server_id: serverId };
  },
  dispatch: () => ({}),
  console: value => {
    if (!isRecord(value) || typeof value['server_id'] !== 'string' || !Array.isArray(value['lines']))
      return null;
    return { server_id: value['server_id'], lines: value['lines'].filter(isConsoleLine) };
  },
  'agent-status': value =>
    isRecord(value) && typeof value['agent_id'] === 'string' ? { agent_id: value['agent_id'] } : null,
  'access-changed': value =>
    isRecord(value) && typeof value['user_id'] === 'string' ? { user_id: value['user_id'] } : null,
};

const LEVELS: readonly unknown[] = ['INFO', 'WARN', 'ERROR', 'DEBUG'] satisfies ConsoleLine['level'][];

function isConsoleLine(value: unknown): value is ConsoleLine {
  return (
    isRecord(value) &&
    typeof value['cursor'] === 'string' &&
    typeof value['timestamp'] === 'string' &&
    typeof value['source'] === 'string' &&
    typeof value['message'] === 'string' &&
    LEVELS.includes(value['level'])
  );
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
