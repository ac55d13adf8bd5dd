import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis, type RedisOptions } from 'ioredis';
import type { Logger } from '#src/observability/logger.js';
import { BUS_TOPICS, type Bus, type BusTopic, type BusTopics } from './bus.js';
import { decodePayload, isRecord } from './decode.js';
import { createListeners } from './listeners.js';

const CHANNEL_PREFIX = 'aymc:';
/** Sent and not answered; beyond this Redis is not keeping up, and what is lossy anyway is dropped here. */
const MAX_IN_FLIGHT_CHARS = 8 * 1024 * 1024;
const MAX_RECONNECT_DELAY_MS = 2_000;
const ANSWER_TIMEOUT_MS = 5_000;
const CLOSE_TIMEOUT_MS = 500;

type Decode<T extends BusTopic> = (value: unknown) => BusTopics[T] | null;

interface RedisBusOptions {
  url: string;
  logger: Logger;
  /** After so long a silence a connection counts as dead. */
  answerTimeoutMs?: number;
}

/** A message says which process sent it, because that one has already told its own listeners. */
interface Envelope {
  from: string;
  payload: unknown;
}

/**
 * Pokes over Redis pub/sub. Local listeners are told directly, so that a process keeps hearing itself while Redis is
 * away; what should have gone to the others meanwhile is dropped, never queued: a poke that is seconds old is worth
 * less than the poll that has already replaced it.
 */
export function createRedisBus({ url, logger, answerTimeoutMs = ANSWER_TIMEOUT_MS }: RedisBusOptions): Bus {
  const self = randomUUID();
  const listeners = createListeners(logger);
  const publisher = connect('publisher', { url, logger, answerTimeoutMs });
  const subscriber = connect('subscriber', { url, logger, answerTimeoutMs });
  // Topics that Redis has confirmed on the present connection.
  const confirmed = new Set<BusTopic>();
  let inFlight = 0;
  let dropped = 0;

  subscriber.on('ready', () => BUS_TOPICS.filter(listeners.has).forEach(follow));
  subscriber.on('close', () => confirmed.clear());
  subscriber.on('message', (channel, text) => {
    const topic = BUS_TOPICS.find(known => CHANNEL_PREFIX + known === channel);
    if (topic) receive(topic, decodePayload[topic], text);
  });
  // Nothing is sent on a quiet subscription: only a ping that stays unanswered shows that it died without a word.
  const pings = setInterval(() => {
    if (subscriber.status === 'ready') subscriber.ping().catch(ignored);
  }, answerTimeoutMs);
  pings.unref();

  function follow(topic: BusTopic): void {
    if (subscriber.status !== 'ready') return; // the next `ready` does it
    subscriber.subscribe(CHANNEL_PREFIX + topic).then(() => confirmed.add(topic), ignored);
  }

  function unfollow(topic: BusTopic): void {
    confirmed.delete(topic);
    if (subscriber.status === 'ready') subscriber.unsubscribe(CHANNEL_PREFIX + topic).catch(ignored);
  }

  function receive<T extends BusTopic>(topic: T, decode: Decode<T>, text: string): void {
    const envelope = parseEnvelope(text);
    if (envelope?.from === self) return;
    const payload = envelope && decode(envelope.payload);
    if (payload) listeners.notify(topic, payload);
    else logger.warn({ topic }, 'a message on the bus is not understood; is another version running?');
  }

  function send<T extends BusTopic>(topic: T, payload: BusTopics[T]): void {
    if (publisher.status !== 'ready' || inFlight >= MAX_IN_FLIGHT_CHARS) {
      dropped++;
      return;
    }
    if (dropped > 0) logger.warn({ dropped }, 'pokes were dropped while Redis did not take them');
    dropped = 0;
    const text = JSON.stringify({ from: self, payload } satisfies Envelope);
    inFlight += text.length;
    const answered = () => void (inFlight -= text.length);
    publisher.publish(CHANNEL_PREFIX + topic, text).then(answered, answered);
  }

  return {
    publish(topic, payload) {
      listeners.notify(topic, payload);
      send(topic, payload);
    },
    subscribe(topic, listener) {
      // Redis hears of the first listener and of the last one's leaving: console lines of a whole fleet are not for
      // processes in which nobody watches.
      if (!listeners.has(topic)) follow(topic);
      const remove = listeners.add(topic, listener);
      return () => {
        if (!listeners.has(topic)) return;
        remove();
        if (!listeners.has(topic)) unfollow(topic);
      };
    },
    get shared() {
      return (
        publisher.status === 'ready' &&
        subscriber.status === 'ready' &&
        BUS_TOPICS.every(topic => !listeners.has(topic) || confirmed.has(topic))
      );
    },
    async close() {
      clearInterval(pings);
      listeners.clear();
      await Promise.all([end(publisher), end(subscriber)]);
    },
  };
}

/** Failures of single commands: the connection's own events tell the story, once. */
function ignored(): void {}

function connect(role: string, { url, logger, answerTimeoutMs }: Required<RedisBusOptions>): Redis {
  const options: RedisOptions = {
    connectionName: `aymc-${role}`,
    enableOfflineQueue: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: answerTimeoutMs,
    // Counts while an answer is due; then the connection is cut, and made anew.
    socketTimeout: answerTimeoutMs,
    retryStrategy: attempt => Math.min(50 * 2 ** attempt, MAX_RECONNECT_DELAY_MS),
  };
  const redis = new Redis(url, options);
  let down = false;
  // Every failed attempt is an error event; operators need the first one and the end of it.
  redis.on('error', error => {
    if (!down) logger.warn({ err: error, role }, 'Redis does not answer; polls carry the events meanwhile');
    down = true;
  });
  redis.on('ready', () => {
    if (down) logger.info({ role }, 'Redis answers again');
    down = false;
  });
  return redis;
}

/** Lets what is under way go out, but a Redis that does not answer holds no shutdown up. */
async function end(redis: Redis): Promise<void> {
  const timeout = new AbortController();
  await Promise.race([
    redis.quit().catch(ignored),
    sleep(CLOSE_TIMEOUT_MS, undefined, { signal: timeout.signal }).catch(ignored),
  ]);
  timeout.abort();
  redis.disconnect();
}

function parseEnvelope(text: string): Envelope | null {
  try {
    const value: unknown = JSON.parse(text);
    if (!isRecord(value) || typeof value['from'] !== 'string') return null;
    return { from: value['from'], payload: value['payload'] };
  } catch {
    return null;
  }
}
