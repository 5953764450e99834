// custody_model.cpp - explicit-state model checker for the custody protocol in docs/custody.md: options and runs.
//
//   build    make model  (g++ -O2 -std=c++17 -o custody_model custody_model.cpp)
//   run      ./custody_model                  the standard set of runs, one to two minutes
//            ./custody_model --hop            one model with the bounds given by options; README.md lists the models
//            ./custody_model --mistake NAME   one seeded mistake, with the shortest run that shows it
//            ./custody_model --mistakes       every seeded mistake, each must be caught
//            ./custody_model --help
//   exit     0 all invariants hold, 1 one is broken (the shortest run to it is printed), 2 bad option
//
// One handoff T (in variant.h two) is followed through every order of events. The network may lose, delay, repeat and
// re-order. Each host may crash (memory lost) or lose power (memory lost, and every directory falls back to what was
// flushed; the kernel may flush any object at any time). Clocks are independent and may step back. The agent
// at B never calls fsync and may act at any moment, except during start-up after a power cut (the unit
// files start agents after the daemon). rename() is atomic across a power cut: old name or new name, never
// neither; with --split-a, --split-b and --split-h a power cut may also show both names at A, at B, at H.
// Out of scope: disk corruption, file contents (a file's bytes count as flushed before it gets a name that
// means something), more handoffs than these, timing.
#include <cstdlib>
#include <fstream>
#include <string>
#include "chain.h"
#include "hop.h"
#include "observed.h"
#include "ring.h"
#include "search.h"
#include "variant.h"
using std::string;

static int runOne(const char *title, bool quietly = false) {
  switch (opt.model) {
    case Options::CHAIN: return Search<ChainModel>().run(title, quietly);
    case Options::RELAY: return Search<RelayModel<Hub>>().run(title, quietly);
    case Options::HOMES: return Search<RelayModel<HubOfTwo>>().run(title, quietly);
    case Options::RING: return Search<RingModel>().run(title, quietly);
    case Options::VARIANTS: return Search<VariantModel>().run(title, quietly);
    default: return Search<HopModel>().run(title, quietly);
  }
}

// One option that needs no number; false if there is none of that name.
static bool choose(const string &word) {
  static const struct { const char *word; int model, faults; } models[] = {
    {"hop", Options::HOP, 99}, {"ways", Options::WAYS, 99}, {"chain", Options::CHAIN, 1}, {"relay", Options::RELAY, 3},
    {"homes", Options::HOMES, 2}, {"ring", Options::RING, 3}, {"variants", Options::VARIANTS, 3}};
  for (auto &m : models) if (word == m.word) { opt.model = decltype(opt.model)(m.model); opt.faults = m.faults; return true; }
  const struct { const char *word; bool &value; } flags[] = {
    {"push", opt.push}, {"pull", opt.pull}, {"modes", opt.modes}, {"origin", opt.origin}, {"brief", opt.brief}, {"restores", opt.restores}, {"split-a", opt.splitA}, {"split-b", opt.split}, {"split-h", opt.splitH},
    {"redeliver", opt.redeliver}, {"give-up", opt.giveup}, {"forget", opt.forget}, {"loose", opt.loose}};
  for (auto &f : flags) if (word == f.word) return f.value = true;
  return false;
}

// Make the i-th mistake, with the bounds that show it.
static void make(int i) {
  const string needs = string(mistakes[i].needs) + " ";
  on[i] = true; opt.live = false;
  for (size_t at = 0, end; (end = needs.find(' ', at)) != string::npos; at = end + 1) {
    const string word = needs.substr(at, end - at);
    if (word == "wipes") opt.wipes = 1;
    else if (word == "stops") opt.stops = 1;
    else if (word == "one-fault") opt.faults = 1;
    else if (word == "no-back") opt.back = 0;
    else if (word == "live") opt.live = true;
    else choose(word);
  }
}
static int runMistakes() {
  const Options base = opt; int missed = 0;
  for (int i = 0; i < MISTAKE_COUNT; i++) {
    auto &m = mistakes[i]; opt = base; make(i);
    printf("%-22s %s\n    ", m.name, m.text); fflush(stdout);
    bool harmless = strstr(m.needs, "harmless"), caught = runOne(m.name, true);
    if (caught == harmless) { missed++; puts(harmless ? "    NOT HARMLESS" : "    NOT CAUGHT"); }
    on[i] = false;
  }
  printf("%d of %d not as expected\n", missed, (int)MISTAKE_COUNT);
  return missed ? 1 : 0;
}

static int runStandard() {   // bounds chosen so that all of it takes about a minute
  const Options base = opt; int bad = 0;
  auto one = [&](const char *title, const char *model, auto change) { opt = base; choose(model); change(); bad |= runOne(title); };
  one("one hop", "hop", [] {});
  one("one hop, B may lose relay/", "hop", [] { opt.wipes = 1; opt.power[HOST_A] = opt.crash[HOST_B] = 0; });
  one("one hop, orderly stops", "hop", [] { opt.stops = 1; opt.crash[HOST_A] = opt.power[HOST_A] = 0; });
  one("one hop, both names at A", "hop", [] { opt.splitA = true; opt.power[HOST_B] = opt.crash[HOST_B] = 0; });
  one("one hop, both names at B", "hop", [] { opt.split = true; opt.power[HOST_A] = opt.crash[HOST_B] = 0; });
  one("one hop, forgetting, giving up", "hop", [] { opt.forget = opt.giveup = true; opt.crash[HOST_B] = 0; });
  one("one hop, loosely", "hop", [] { opt.loose = true; opt.back = 0; opt.crash[HOST_B] = opt.power[HOST_A] = 0; });
  one("one hop, loosely, lost relay/", "hop", [] { opt.loose = true; opt.wipes = 1; opt.back = opt.crash[HOST_B] = 0; opt.power[HOST_A] = opt.power[HOST_B] = 0; });
  one("one hop, same bytes by two ways", "ways", [] { opt.power[HOST_A] = opt.power[HOST_B] = 0; });
  one("pull hop, B may lose relay/", "relay", [] { opt.wipes = 1; opt.faults = 2; opt.back = 0; });
  one("pull hop, both names at H", "relay", [] { opt.splitH = true; opt.faults = 2; opt.back = 0; });
  one("pull hop, relay/ restored", "relay", [] { opt.restores = true; opt.faults = 1; });
  one("pull hop from its origin, loosely", "relay", [] { opt.origin = opt.loose = true; opt.wipes = 1; opt.faults = 1; opt.back = 0; });
  one("push as second hop, lost relay/", "relay", [] { opt.push = true; opt.wipes = 1; opt.faults = 2; opt.back = 0; });
  one("pull hop becomes push", "relay", [] { opt.modes = true; opt.crash[HOST_H] = opt.faults = 2; opt.back = 0; });
  one("push hop becomes pull", "relay", [] { opt.modes = opt.push = true; opt.crash[HOST_H] = opt.faults = 2; opt.back = 0; });
  one("two homes pull", "homes", [] { opt.faults = 1; opt.back = 0; });
  one("two hops, push and pull", "chain", [] { opt.crash[HOST_A] = opt.power[HOST_A] = opt.crash[HOST_B] = opt.power[HOST_B] = opt.back = 0; });
  one("two hops, push and push", "chain", [] { opt.push = true; opt.crash[HOST_A] = opt.power[HOST_A] = opt.crash[HOST_B] = opt.power[HOST_B] = opt.back = 0; });
  one("a loop", "ring", [] {});
  one("a loop, by push and pull", "ring", [] { opt.pull = true; });
  one("two variants at once", "variants", [] { opt.crash[HOST_B] = opt.power[HOST_B] = 3; opt.faults = 6; });
  return bad;
}

// Traces of a link's two hosts, by the model chosen: bounds so wide that no trace meets them. Exit 2: a trace cannot be read.
template <class View> static int replay(int count, char **files) {
  for (int h = 0; h < 3; h++) opt.crash[h] = opt.power[h] = 250;
  opt.back = opt.model == Options::RELAY ? 6 : 3;   // the relay counts those of both hosts together
  opt.wipes = 2; opt.stops = 1; opt.loose = opt.origin = opt.brief = true; opt.faults = 99;
  Replay<View> all; int bad = 0;
  try {
    if (!count) bad = all.run(std::cin);
    for (int i = 0; i < count; i++) {
      std::ifstream in(files[i]); if (!in) throw string("cannot be opened: ") + files[i];
      bad |= all.run(in);
    }
  } catch (const string &words) { fprintf(stderr, "%s\n", words.c_str()); return 2; }
  return bad;
}

static void help() {
  puts("no option: the standard set.  A model or any bound: one run.\n"
       "--hop --ways --chain --relay --homes --ring --variants   the models; see model/README.md\n"
       "--push         H pushes to B instead of being asked for leases    --modes   that may change when H restarts\n"
       "--origin       H is where the agent wrote (relay)    --brief   B's second hello follows its first at once\n"
       "--pull         in a ring: H dials R and leases T there\n"
       "--a-crash N --h-crash N --b-crash N --a-power N --h-power N --b-power N   crashes and power cuts (default 1 each)\n"
       "--back N       backward clock steps (default 1; per host in one hop, else in all)\n"
       "--wipes N      B loses relay/ (0..2, default 0)      --stops 1   B may be stopped in order\n"
       "--faults N     all crashes, cuts, wipes, stops together (default: one hop none, --chain 1, --homes 2, else 3)\n"
       "--loose        what hosts may do besides (one hop, relay); see model/README.md\n"
       "--restores     B's relay/ may be restored from a backup\n"
       "--split-a --split-b --split-h   a power cut may show both names of a rename at A (one hop), at B, at H\n"
       "--redeliver    after_power_loss: redeliver           --give-up   A may end as outcome_unknown\n"
       "--forget       B deletes final records by the rule of forgetting\n"
       "--no-live      skip I10 (less memory)\n"
       "--mistake NAME one mistake, with the run that shows it; what comes after it changes that run   --mistakes   all   --list   their names\n"
       "--replay FILE...   is each of these traces a path of the model of one hop, after --relay of a pull link (replay.h); without a FILE they come from standard input\n"
       "The model comes before its bounds.");
}
static bool seed(const string &name) {
  for (int k = 0; k < MISTAKE_COUNT; k++) if (name == mistakes[k].name) { make(k); return true; }
  fprintf(stderr, "no such mistake: %s\n", name.c_str());
  return false;
}
int main(int argc, char **argv) {
  const struct { const char *word; int &value; } bounds[] = {
    {"a-crash", opt.crash[HOST_A]}, {"h-crash", opt.crash[HOST_H]}, {"b-crash", opt.crash[HOST_B]},
    {"a-power", opt.power[HOST_A]}, {"h-power", opt.power[HOST_H]}, {"b-power", opt.power[HOST_B]},
    {"back", opt.back}, {"wipes", opt.wipes}, {"stops", opt.stops}, {"faults", opt.faults}};
  bool all = false; string title;
  auto bound = [&](const string &word, const char *value) {
    for (auto &b : bounds) if (word == b.word && value) { b.value = atoi(value); return true; }
    return false; };
  for (int i = 1; i < argc; i++) {
    string a = argv[i], word = a.substr(0, 2) == "--" ? a.substr(2) : ""; const char *next = i + 1 < argc ? argv[i + 1] : nullptr;
    title += (title.empty() ? "" : " ") + a;
    if (choose(word)) continue;
    if (word == "replay") { auto judge = opt.model == Options::RELAY ? replay<PullView> : replay<HopView>; return judge(argc - i - 1, argv + i + 1); }
    if (word == "no-live") opt.live = false;
    else if (word == "mistakes") all = true;
    else if (word == "list") { for (auto &m : mistakes) printf("%-22s %s\n", m.name, m.text); return 0; }
    else if (word == "mistake" && next) { if (!seed(next)) return 2; title += string(" ") + argv[++i]; }
    else if (bound(word, next)) title += string(" ") + argv[++i];
    else { help(); return word == "help" ? 0 : 2; }
  }
  if (opt.wipes > (opt.model == Options::HOP || opt.model == Options::WAYS ? 2 : 1)) { fprintf(stderr, "--wipes 0..2 in one hop, else 0..1\n"); return 2; }
  return all ? runMistakes() : title.empty() ? runStandard() : runOne(title.c_str());
}
