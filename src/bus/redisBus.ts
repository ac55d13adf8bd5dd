import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis, type RedisOptions } from 'ioredis';
import type { Logger } from '#src/observability/logger.js';
import { BUS_TOPICS, type Bus, type BusTopic, type BusTopics } from './bus.js';
import { decodePayload, isRecord } from './decode.js';
import { createListeners } from './listeners.js';

const CHANNEL_PREFIX = 'aymc:';
/** Publishes under way; beyond this Redis is not keeping up, and what is lossy anyway is dropped here. */
const MAX_IN_FLIGHT = 1_000;
const MAX_RECONNECT_DELAY_MS = 2_000;
/** Nothing is sent on a quiet subscription, so only a ping notices a connection that died without a word. */
const PING_INTERVAL_MS = 5_000;
const ANSWER_TIMEOUT_MS = 5_000;
const CLOSE_TIMEOUT_MS = 500;

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
export function createRedisBus({ url, logger }: { url: string; logger: Logger }): Bus {
  const self = randomUUID();
  const listeners = createListeners(logger);
  const publisher = connect(url, 'publisher', logger);
  const subscriber = connect(url, 'subscriber', logger);
  // Topics that Redis has confirmed on the present connection.
  const confirmed = new Set<BusTopic>();
  let inFlight = 0;
  let dropped = 0;

  subscriber.on('ready', () => BUS_TOPICS.filter(listeners.has).forEach(follow));
  subscriber.on('close', () => confirmed.clear());
  subscriber.on('message', (channel, text) => {
    const topic = BUS_TOPICS.find(known => CHANNEL_PREFIX + known === channel);
    if (topic) receive(topic, text);
  });
  const pings = setInterval(() => {
    // The answer's time limit (socketTimeout) cuts a dead connection, which then reconnects.
    if (subscriber.status === 'ready') subscriber.ping().catch(ignored);
  }, PING_INTERVAL_MS);
  pings.unref();

  function follow(topic: BusTopic): void {
    if (subscriber.status !== 'ready') return; // the next `ready` does it
    subscriber.subscribe(CHANNEL_PREFIX + topic).then(() => confirmed.add(topic), ignored);
  }

  function unfollow(topic: BusTopic): void {
    confirmed.delete(topic);
    if (subscriber.status === 'ready') subscriber.unsubscribe(CHANNEL_PREFIX + topic).catch(ignored);
  }

  function receive<T extends BusTopic>(topic: T, text: string): void {
    const decode: (value: unknown) => BusTopics[T] | null = decodePayload[topic];
    const envelope = parseEnvelope(text);
    if (envelope?.from === self) return;
    const payload = envelope && decode(envelope.payload);
    if (payload) listeners.notify(topic, payload);
    else logger.warn({ topic }, 'a message on the bus is not understood; is another version running?');
  }

  function send<T extends BusTopic>(topic: T, payload: BusTopics[T]): void {
    if (publisher.status !== 'ready' || inFlight >= MAX_IN_FLIGHT) {
      dropped++;
      return;
    }
    if (dropped > 0) logger.warn({ dropped }, 'pokes were dropped while Redis did not take them');
    dropped = 0;
    inFlight++;
    const envelope: Envelope = { from: self, payload };
    publisher
      .publish(CHANNEL_PREFIX + topic, JSON.stringify(envelope))
      .catch(ignored)
      .finally(() => inFlight--);
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

function connect(url: string, role: string, logger: Logger): Redis {
  const options: RedisOptions = {
    connectionName: `aymc-${role}`,
    enableOfflineQueue: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: ANSWER_TIMEOUT_MS,
    socketTimeout: ANSWER_TIMEOUT_MS,
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
