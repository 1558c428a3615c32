// Sends numbered events with Amplitude's Node SDK, for ../node_test.go:
//
//	node send.js URL KEY SCENARIO COUNT
//
// A scenario is made of words. "flush": the events leave by flush() and not at
// the interval. "refused": the events 4 and 5 are not as the plan has them.
// "padded": each event is 45 kB long, by a text that the plan does not declare,
// and up to 30 of them leave together.
// "batches": COUNT is sent three times, and the second and third time after a
// line on standard input. For each batch a line says what the SDK tells of each
// event: its number and the code. The process ends when nothing is left to do.
const dns = require("dns");
const readline = require("readline");
const { randomUUID } = require("crypto");
const { createInstance } = require("@amplitude/analytics-node");

dns.lookup = () => { throw new Error("the SDK looked up a name"); };

const [url, key, scenario, count] = process.argv.slice(2);
const is = (word) => scenario.split(" ").includes(word);
const client = createInstance();
const device_id = randomUUID();

function track(number) {
  const refused = is("refused");
  const type = refused && number === 4 ? "undeclared" : "counted";
  const properties = { number: refused && number === 5 ? "many" : number };
  if (is("padded")) properties.padding = "x".repeat(45_000);
  const sent = client.track(type, properties, { device_id, app_version: "1.2.3" });
  return sent.promise.then(({ code }) => ({ number, code }));
}

async function batch(first) {
  const told = Array.from({ length: Number(count) }, (_, i) => track(first + i));
  if (is("flush")) await client.flush().promise;
  console.log(JSON.stringify(await Promise.all(told)));
}

async function main() {
  // The SDK takes in about one event a millisecond, and fewer on a busy machine,
  // so that the first ones would leave alone at a shorter interval.
  const flushQueueSize = is("padded") ? 30 : 200; // 200 unless set
  await client.init(key, { serverUrl: url, flushIntervalMillis: 1200, flushQueueSize, logLevel: 0 }).promise;
  await batch(0);
  if (is("batches")) {
    const input = readline.createInterface({ input: process.stdin });
    const lines = input[Symbol.asyncIterator]();
    for (let i = 1; i < 3; i++) {
      await lines.next();
      await batch(i * count);
    }
    input.close();
    process.stdin.destroy();
  }
  await client.flush().promise;
}

main();
