import { TestWorkflowEnvironment } from '@temporalio/testing';

/**
 * Makes the Temporal SDK download its CLI into the folder given as argument. It has no call for that alone, so a
 * server is started and ended; what stays is the program.
 */
const [downloadDir] = process.argv.slice(2);
if (downloadDir === undefined) throw new Error('usage: sdkDownload <folder>');
const environment = await TestWorkflowEnvironment.createLocal({
  server: { executable: { type: 'cached-download', downloadDir } },
});
await environment.teardown();
