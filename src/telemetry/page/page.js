// Asks the worker every other second and shows what it says. Counters come as they are; what happens a second, and
// how long requests take, is the difference between two answers.
"use strict";

const EVERY = 2000; // ms from one answer to the next question
const PATIENCE = 5000; // ms for an answer
const COURSE = 60; // answers remembered: two minutes
const RECENT = 10; // seconds over which the rate is taken
const A_MINUTE = 60; // seconds over which the latency is taken

const WORDS = {
  consuming: "✓ connected and consuming",
  ready: "✓ ready",
  idle: "– not asked",
  paused: "‖ paused",
  circuit_open: "✕ circuit open",
  half_open: "◐ half-open",
  not_ready: "✕ not ready",
  gone: "✕ gone",
};

const at = (id) => document.getElementById(id);
const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
let answers = []; // the oldest first

// Sets text only where it is another, so that what reads the page aloud stays silent.
function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

function showState(element, state) {
  if (element.dataset.state !== state) element.dataset.state = state;
  say(element, WORDS[state]);
}

function showTrouble(element, text) {
  element.hidden = !text;
  say(element, text ?? "");
}

// What is not known is no zero.
function number(value) {
  if (value === undefined) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}

function time(seconds) {
  if (seconds < 0.995) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 90) return `${number(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// The oldest answer that is no older than so many seconds before the last.
function since(seconds) {
  const last = answers.at(-1);
  return answers.find((answer) => last.uptime_seconds - answer.uptime_seconds <= seconds + 0.5);
}

const answered = (answer, name) => sum(answer.providers[name]?.results ?? {});

function rate(name, from, to) {
  const seconds = to.uptime_seconds - from.uptime_seconds;
  return seconds > 0 ? (answered(to, name) - answered(from, name)) / seconds : 0;
}

// As Prometheus' histogram_quantile does: in a bucket, evenly spread.
function quantile(share, from, to) {
  const rank = share * (to.count - (from?.count ?? 0));
  let [lower, before] = [0, 0];
  for (const [index, [bound, count]] of to.buckets.entries()) {
    const within = count - (from?.buckets[index]?.[1] ?? 0);
    if (within >= rank && within > before) {
      return time(lower + ((bound - lower) * (rank - before)) / (within - before));
    }
    [lower, before] = [bound, within];
  }
  return `over ${time(lower)}`;
}

// How long half of the requests of the last minute took, and nearly all.
function latency(name) {
  const to = answers.at(-1).providers[name].latency;
  // A page that has just been opened has nothing to compare, and takes all since the start.
  const from = answers.length > 1 ? since(A_MINUTE).providers[name]?.latency : undefined;
  if (to.count === (from?.count ?? 0)) return ["–", "none for a minute"];
  return [quantile(0.5, from, to), `99 % within ${quantile(0.99, from, to)}`];
}

// The rate between any two answers, as an area.
function course(name) {
  const rates = answers.slice(1).map((answer, index) => rate(name, answers[index], answer));
  const most = Math.max(1, ...rates);
  const x = (index) => (120 * (COURSE - rates.length + index + 1)) / COURSE;
  const points = rates.map((value, index) => `L${x(index)} ${24 - (22 * value) / most}`);
  return points.length ? `M${x(0)} 24 ${points.join(" ")} L120 24` : "M120 24";
}

function results(provider) {
  const { found = 0, not_found = 0, failed = 0 } = provider.results;
  const errors = Object.entries(provider.errors).filter(([, count]) => count > 0);
  const told = errors.map(([error, count]) => `${error} ${number(count)}`).join(", ");
  return `${number(found)} found, ${number(not_found)} not found, ${number(failed)} failed${told && ` (${told})`}`;
}

function quota({ quota, backlog_seconds }) {
  if (!quota) return "no limit";
  const used = quota.used === undefined ? `${number(quota.limit)} in a window` : `${number(quota.used)} of ${number(quota.limit)} used`;
  return backlog_seconds > 0 ? `${used}; what waits takes ${time(backlog_seconds)}` : used;
}

function showBar(bar, quota) {
  bar.hidden = quota?.used === undefined;
  if (bar.hidden) return;
  const share = quota.used / quota.limit;
  bar.classList.toggle("full", share > 0.9);
  bar.firstElementChild.style.width = `${Math.min(100, 100 * share)}%`;
}

function showProvider(name, provider) {
  let card = at(`provider-${name}`);
  if (!card) {
    card = at("card").content.firstElementChild.cloneNode(true);
    card.id = `provider-${name}`;
    say(card.querySelector("h3"), name);
    at("providers").append(card);
  }
  card.className = `card ${provider.state}`;
  // Without the broker, or while it takes nothing, there are no jobs to ask for.
  const idle = provider.state === "ready" && !answers.at(-1).ready;
  showState(card.querySelector(".state"), idle ? "idle" : provider.state);
  showTrouble(card.querySelector(".trouble"), provider.trouble);
  card.querySelector("path").setAttribute("d", course(name));
  const [half, most] = latency(name);
  const figures = {
    half,
    most,
    rate: `${number(rate(name, since(RECENT), answers.at(-1)))} a second`,
    "in-flight": number(provider.in_flight),
    interactive: number(provider.queued.interactive),
    bulk: number(provider.queued.bulk),
    quota: quota(provider),
    results: results(provider),
  };
  for (const [what, text] of Object.entries(figures)) say(card.querySelector(`[data-is=${what}]`), text);
  showBar(card.querySelector(".bar"), provider.quota);
}

function showDeadLetters(providers) {
  const letters = Object.entries(providers).flatMap(([name, provider]) =>
    Object.entries(provider.dead_letters).map(([error, count]) => [name, error, count]));
  at("dead-letters").hidden = letters.length === 0;
  at("no-dead-letters").hidden = letters.length > 0;
  const rows = letters.map(([name, error, count]) => {
    const row = document.createElement("tr");
    for (const [kind, text] of [["th", name], ["td", error], ["td", number(count)]]) {
      row.append(Object.assign(document.createElement(kind), { textContent: text }));
    }
    row.firstElementChild.scope = "row";
    return row;
  });
  at("dead-letters").tBodies[0].replaceChildren(...rows);
}

function show(status) {
  // Another process counts from nothing.
  if (status.uptime_seconds < (answers.at(-1)?.uptime_seconds ?? 0)) answers = [];
  answers = [...answers, status].slice(-COURSE - 1);
  const state = status.ready ? "consuming" : "not_ready";
  document.body.className = "";
  showState(at("state"), state);
  showTrouble(at("trouble"), status.trouble);
  const providers = Object.entries(status.providers);
  const all = (count) => number(providers.reduce((sum, [name, provider]) => sum + count(name, provider), 0));
  say(at("rate"), all((name) => rate(name, since(RECENT), status)));
  say(at("in-flight"), all((_, provider) => provider.in_flight));
  const known = providers.some(([, provider]) => "bulk" in provider.queued);
  say(at("waiting"), known ? all((_, provider) => sum(provider.queued)) : "–");
  say(at("dead"), number(status.dead_letters));
  for (const card of [...at("providers").children]) {
    if (!(card.id.slice("provider-".length) in status.providers)) card.remove();
  }
  for (const [name, provider] of providers) showProvider(name, provider);
  showDeadLetters(status.providers);
  const times = ["not connected yet", "connected once"][status.connects] ?? `connected ${status.connects} times`;
  const panics = status.panics ? `, ${status.panics} panics caught` : "";
  say(at("about"), `Version ${status.version}, up for ${time(status.uptime_seconds)}, ${times}${panics}.`);
  const troubled = providers.filter(([, provider]) => provider.state !== "ready").length;
  document.title = `${status.ready ? "" : "✕ "}${troubled ? `(${troubled}) ` : ""}lookup-worker`;
  at("main").hidden = false;
}

function gone() {
  if (document.body.className !== "gone") {
    const now = new Date().toLocaleTimeString();
    showTrouble(at("trouble"), `The worker has not answered since ${now}. What you see is what it said last.`);
  }
  document.body.className = "gone";
  showState(at("state"), "gone");
  document.title = "✕ lookup-worker";
}

// What the worker says, or nothing.
async function answer() {
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    return answer.ok ? await answer.json() : undefined;
  } catch {
    return undefined;
  }
}

async function ask() {
  const status = await answer();
  setTimeout(ask, EVERY);
  if (status) show(status);
  else gone();
}

ask();
