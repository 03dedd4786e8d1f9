// Asks the worker every other second and shows what it says. Counters come as they are; what happens a second, and
// how long requests take, is the difference between two answers. What was before the page was opened the worker keeps.
"use strict";

const EVERY = 2000; // ms from one answer to the next question
const PATIENCE = 5000; // ms for an answer
const REMEMBERED = 60; // answers: two minutes
const COURSE = 900; // seconds that the course shows: a quarter of an hour
const SOON = 2; // seconds of waiting for quota that are not worth a word
const LOOK = 5; // seconds from one look of the course to the next
const RECENT = 10; // seconds over which the rate is taken
const A_DAY = 86400; // seconds after which a time is told with its day
const A_MINUTE = 60; // seconds over which the latency is taken

const WORDS = {
  consuming: "✓ connected and consuming",
  ready: "✓ ready",
  quota: "◔ waits for quota",
  idle: "– not asked",
  paused: "‖ paused",
  circuit_open: "✕ circuit open",
  half_open: "◐ half-open",
  not_ready: "✕ not ready",
  gone: "✕ gone",
};

// By these errors credentials are refused.
const OF_CREDENTIALS = ["unauthorized", "forbidden"];

const at = (id) => document.getElementById(id);
const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
let answers = []; // the oldest first
let looks = []; // the same in short, for the course
let passing = false; // whether the last of them is not to stay

// Sets text only where it is another, so that what reads the page aloud stays silent.
function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

function showState(element, state, more = "") {
  if (element.dataset.state !== state) element.dataset.state = state;
  say(element, WORDS[state] + more);
}

// How it stands with a provider: what the worker says, or what that means for its jobs.
function standing({ state, backlog_seconds }) {
  if (state !== "ready") return [state];
  // Without the broker, or while it takes nothing, there are no jobs to ask for.
  if (!answers.at(-1).ready) return ["idle"];
  return backlog_seconds > SOON ? ["quota", `, about ${time(backlog_seconds)}`] : ["ready"];
}

// Jobs of a lane that wait, at the broker and in the worker's hands; before the broker was asked nobody knows.
function waiting({ queued, held }, lane) {
  return queued[lane] === undefined ? undefined : queued[lane] + (held[lane] ?? 0);
}

const allWaiting = (provider) => sum(provider.queued) + sum(provider.held);

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

// A status as the worker's own looks are.
function look({ uptime_seconds, ready, providers }) {
  const brief = ([name, provider]) =>
    [name, { state: ready ? provider.state : null, answered: sum(provider.results), waiting: allWaiting(provider) }];
  return { uptime_seconds, providers: Object.fromEntries(Object.entries(providers).map(brief)) };
}

// The times between any two looks, and what was then.
function stretches(name) {
  return looks.slice(1).flatMap((to, index) => {
    const [from, [was, is]] = [looks[index], [looks[index], to].map((look) => look.providers[name])];
    if (!was || !is) return [];
    const seconds = to.uptime_seconds - from.uptime_seconds;
    const rate = Math.max(0, is.answered - was.answered) / seconds;
    return [{ begin: from.uptime_seconds, end: to.uptime_seconds, seconds, rate, state: was.state ?? "not_ready", waiting: is.waiting }];
  });
}

// The rate as an area, and a ground where the provider was not well.
function course(times) {
  const most = Math.max(1, ...times.map(({ rate }) => rate));
  const x = (second) => (120 * (1 - (looks.at(-1).uptime_seconds - second) / COURSE)).toFixed(2);
  const points = times.map(({ end, rate }) => `L${x(end)} ${(24 - (22 * rate) / most).toFixed(2)}`);
  const unwell = times.filter(({ state }) => state !== "ready");
  return {
    rate: points.length ? `M${x(times[0].begin)} 24 ${points.join(" ")} L120 24` : "M120 24",
    unwell: unwell.map(({ begin, end }) => `M${x(begin)} 24V0H${x(end)}V24Z`).join("") || "M0 24",
  };
}

// The same in words: how long it was in which state, and how long ago that was.
function story(times) {
  if (times.length === 0) return "–";
  const now = looks.at(-1).uptime_seconds;
  const states = [...new Set(times.map(({ state }) => state))].filter((state) => state !== "ready");
  const told = states.map((state) => {
    const those = times.filter((time) => time.state === state);
    const [long, ago] = [those.reduce((all, { seconds }) => all + seconds, 0), now - those.at(-1).end];
    return `${WORDS[state].slice(2)} for ${time(long)}, ${ago < LOOK ? "until now" : `the last ${time(ago)} ago`}`;
  });
  const most = Math.max(...times.map(({ waiting }) => waiting));
  return [...told, ...(most ? [`up to ${number(most)} waiting`] : [])].join("; ") || "all was well, and none waited";
}

// When something was; of another day with its date. Not how long ago: what reads the page aloud would never be silent.
function when(moment) {
  const then = new Date(moment);
  return Date.now() - then < A_DAY * 1000 ? then.toLocaleTimeString() : then.toLocaleString();
}

const withSince = ({ trouble, since }) => trouble && `${trouble}; since ${when(since)}`;

// What accuses a provider now: that it is not well, that its requests fail, that its calls wait.
function accusation(provider) {
  const runs = provider.trouble ? [] : Object.entries(provider.failing ?? {});
  const failing = runs.map(([error, { count, since, last }]) => `requests fail: ${error} ${number(count)} since ${when(since)}, the last at ${when(last)}`);
  return [withSince(provider), ...failing, withSince(provider.quota?.calls_wait ?? {})].filter(Boolean).join("; ");
}

// A counter says when that was: it goes on to tell of what is over.
function results(provider) {
  const { found = 0, not_found = 0, failed = 0 } = provider.results;
  const errors = Object.entries(provider.errors).filter(([, count]) => count > 0);
  const last = (error) => (provider.last_errors?.[error] ? `, the last at ${when(provider.last_errors[error])}` : "");
  const told = errors.map(([error, count]) => `${error} ${number(count)}${last(error)}`).join("; ");
  return `${number(found)} found, ${number(not_found)} not found, ${number(failed)} failed${told && ` (${told})`}`;
}

// What each provider of a lookup came to, in words.
function steps({ steps = {} }) {
  const told = Object.entries(steps).map(([provider, counts]) => {
    const words = Object.entries(counts).filter(([, count]) => count > 0);
    const said = words.map(([status, count]) => `${number(count)} ${status.replace("_", " ")}`).join(", ");
    return `${provider}: ${said || "not asked yet"}`;
  });
  return told.join("; ");
}

function quota({ quota, backlog_seconds, steps }) {
  if (steps) return "that of each step's provider";
  if (!quota) return "no limit";
  const used = quota.used === undefined ? `${number(quota.limit)} in a window` : `${number(quota.used)} of ${number(quota.limit)} used`;
  const waits = backlog_seconds > 0 ? `; what waits takes ${time(backlog_seconds)}` : "";
  const left = quota.remaining === undefined ? "" : `; its answers say that ${number(quota.remaining)} are left`;
  return used + waits + (quota.held ? `; ${withSince(quota.held)}` : left);
}

// How long calls and bulk waited for a permission, half of them and nearly all, in the last quarter of an hour.
function waits({ quota }) {
  const within = (seconds) => (seconds > 0 ? `within ${time(seconds)}` : "at once");
  const told = Object.entries(quota?.waits ?? {}).map(([lane, { count, p50_seconds, p99_seconds }]) =>
    `${lane}: half ${within(p50_seconds)}, 99 % ${within(p99_seconds)}, of ${number(count)}`);
  return told.join("; ") || "none asked for one";
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
  showState(card.querySelector(".state"), ...standing(provider));
  showTrouble(card.querySelector(".trouble"), accusation(provider));
  const times = stretches(name);
  for (const [what, path] of Object.entries(course(times))) card.querySelector(`path.${what}`).setAttribute("d", path);
  const [half, most] = latency(name);
  const figures = {
    half,
    most,
    rate: `${number(rate(name, since(RECENT), answers.at(-1)))} a second`,
    "in-flight": number(provider.in_flight),
    parked: number(provider.parked),
    interactive: number(waiting(provider, "interactive")),
    bulk: number(waiting(provider, "bulk")),
    quota: quota(provider),
    waits: waits(provider),
    story: story(times),
    results: results(provider),
    steps: steps(provider),
  };
  card.querySelector(".steps").hidden = !provider.steps;
  card.querySelector(".waits").hidden = !provider.quota;
  for (const [what, text] of Object.entries(figures)) say(card.querySelector(`[data-is=${what}]`), text);
  showBar(card.querySelector(".bar"), provider.quota);
}

// Jobs for providers that nobody has are dead letters, but no provider.
function showDeadLetters({ providers, for_nobody }) {
  const letters = Object.entries({ ...providers, "no such provider": for_nobody }).flatMap(([name, provider]) =>
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

// What was refused before its provider's credentials were mended can be sent back.
function showReplays({ providers, dead_letters }) {
  const isWell = ({ trouble, failing = {} }) => !trouble && Object.keys(failing).length === 0;
  const told = Object.entries(providers).flatMap(([name, provider]) => {
    const errors = OF_CREDENTIALS.filter((error) => provider.dead_letters[error] > 0);
    if (!errors.length || !isWell(provider)) return [];
    return [`lookup-worker dead replay --provider ${name}${errors.map((error) => ` --error ${error}`).join("")}`];
  });
  at("replays").hidden = !dead_letters || told.length === 0;
  at("replays").replaceChildren("What was refused before the credentials were mended:", ...told.flatMap((command) =>
    [" ", Object.assign(document.createElement("code"), { textContent: command })]));
}

function show(status) {
  answers = [...answers, status].slice(-REMEMBERED - 1);
  // The last is always of now, and the next takes its place until it is old enough to stay.
  if (passing) looks.pop();
  passing = looks.length > 0 && status.uptime_seconds - looks.at(-1).uptime_seconds < LOOK;
  looks = [...looks, look(status)].filter((look) => status.uptime_seconds - look.uptime_seconds <= COURSE);
  const state = status.ready ? "consuming" : "not_ready";
  document.body.className = "";
  showState(at("state"), state);
  showTrouble(at("trouble"), withSince(status));
  const providers = Object.entries(status.providers);
  const all = (count) => number(providers.reduce((sum, [name, provider]) => sum + count(name, provider), 0));
  say(at("rate"), all((name) => rate(name, since(RECENT), status)));
  say(at("in-flight"), all((_, provider) => provider.in_flight));
  const known = providers.some(([, provider]) => "bulk" in provider.queued);
  say(at("waiting"), known ? all((_, provider) => allWaiting(provider)) : "–");
  say(at("dead"), number(status.dead_letters));
  for (const card of [...at("providers").children]) {
    if (!(card.id.slice("provider-".length) in status.providers)) card.remove();
  }
  for (const [name, provider] of providers) showProvider(name, provider);
  showDeadLetters(status);
  showReplays(status);
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

// What the worker says there, or nothing.
async function answer(path) {
  try {
    const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    return answer.ok ? await answer.json() : undefined;
  } catch {
    return undefined;
  }
}

async function ask() {
  const status = await answer("status.json");
  setTimeout(ask, EVERY);
  // What was before the page was opened; another process counts from nothing.
  if (status && status.uptime_seconds < (answers.at(-1)?.uptime_seconds ?? Infinity)) {
    const past = (await answer("history.json")) ?? [];
    [answers, passing, looks] = [[], false, past.filter((look) => look.uptime_seconds < status.uptime_seconds)];
  }
  if (status) show(status);
  else gone();
}

ask();
