import { createLogger } from '#src/observability/logger.js';
import { installTemporalRuntime } from '#processes/parts/worker.js';

// Temporal's own lines go where tests send their logs: nowhere, unless asked for. Once per process.
installTemporalRuntime(createLogger({ level: process.env['TEST_LOG_LEVEL'] ?? 'silent', name: 'temporal' }));
