import type { BusTopic, BusTopics } from './bus.js';

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
  console: value =>
    isRecord(value) && typeof value['server_id'] === 'string' && typeof value['head'] === 'number'
      ? { server_id: value['server_id'], head: value['head'] }
      : null,
  'agent-status': value =>
    isRecord(value) && typeof value['agent_id'] === 'string' ? { agent_id: value['agent_id'] } : null,
  'access-changed': value =>
    isRecord(value) && typeof value['user_id'] === 'string' ? { user_id: value['user_id'] } : null,
  notifications: value =>
    isRecord(value) && typeof value['user_id'] === 'string' ? { user_id: value['user_id'] } : null,
};

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
