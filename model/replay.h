// replay.h - asks of observed histories whether each is a path of the model: the model's own steps, and no rule besides.
//
// A trace is a list of lines. A line tells what the directories and answers showed after the line before it, as a set
// of values that each observed field of the state may have, and which of the steps that leave a mark elsewhere were
// taken or may have been taken meanwhile:
//
//   trace NAME
//   WHERE [!STEP | ?STEP]... [FIELD=VALUE|VALUE...]...      !STEP happened just then, ?STEP may have happened
//   (an empty line)
//
// WHERE is a word for people. A field that is not named keeps its set, VALUE is a word or several joined by +, and
// FIELD=? is any value. All states that agree with the lines so far are kept. From one line to the next any number of
// steps may be taken; on the way each field has a value of the old set or of the new one, and no step is taken that
// would have been seen elsewhere and was not. When no state is left, the trace is no path of the model.
#pragma once
#include "option.h"
#include <cstdio>
#include <cstring>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

// What of a model's state is observed, and how its values are called. Values are below 64.
template <class S> struct Field {
  const char *name;
  u64 (*value)(const S &);
  std::vector<std::string> words;     // by value; or one for each bit of a set, when `set`
  bool set = false;
};
// Steps of the model that leave a mark where they are taken: they are only allowed where a line tells of them.
struct Heard { const char *step; std::vector<const char *> names; };

template <class View> struct Replay {
  typedef typename View::Model M; typedef typename M::State S;
  static constexpr size_t LIMIT = 2000000;           // states at one line; more would be a trace that says too little
  static constexpr u64 ANY = ~0ull, ELSE = 63;       // ELSE: what no state of the model shows
  struct Hash { size_t operator()(const S &s) const {
    u64 w[sizeof(S) / 8], h = 0x9E3779B97F4A7C15ull; memcpy(w, &s, sizeof s);
    for (u64 x : w) { h ^= x; h *= 0xBF58476D1CE4E5B9ull; h ^= h >> 29; }
    return h; } };
  struct Same { bool operator()(const S &a, const S &b) const { return !memcmp(&a, &b, sizeof a); } };
  typedef std::unordered_set<S, Hash, Same> States;
  typedef std::vector<u64> Seen;                     // for each field the values that agree, one bit each

  const std::vector<Field<S>> fields = View::fields();
  const std::vector<Heard> heard = View::heard();
  std::map<std::string, u64> taken;                  // how often a line's way used each step of the model
  std::unordered_map<const char *, int> kinds;       // a step's kind by where its name stands
  u64 traces = 0, lines = 0, widest = 0; int wrong = 0;

  int kind(const char *name) {                       // index into heard, or -1: nobody hears it
    auto at = kinds.find(name); if (at != kinds.end()) return at->second;
    int found = -1;
    for (size_t i = 0; i < heard.size(); i++) for (auto each : heard[i].names) if (!strcmp(each, name)) found = i;
    return kinds[name] = found;
  }
  int kindOf(const std::string &step) {
    for (size_t i = 0; i < heard.size(); i++) if (step == heard[i].step) return i;
    throw std::string("no such step: ") + step;
  }
  u64 valueOf(const Field<S> &f, const std::string &text) {
    u64 value = 0; std::istringstream in(text);
    for (std::string word; std::getline(in, word, '+');) {
      if (word == "else") return ELSE;
      size_t i = 0; while (i < f.words.size() && f.words[i] != word) i++;
      if (i == f.words.size()) throw std::string("no such value of ") + f.name + ": " + word;
      if (f.set) value |= i ? 1ull << (i - 1) : 0; else value = i;
    }
    return value;
  }
  std::string wordOf(const Field<S> &f, u64 value) {
    if (!f.set) return value < f.words.size() ? f.words[value] : "else";
    std::string text; for (size_t i = 1; i < f.words.size(); i++) if (value >> (i - 1) & 1) text += (text.empty() ? "" : "+") + f.words[i];
    return text.empty() ? f.words[0] : text;
  }
  static bool agrees(const Seen &seen, const std::vector<Field<S>> &fields, const S &s) {
    for (size_t i = 0; i < fields.size(); i++) if (!(seen[i] >> fields[i].value(s) & 1)) return false;
    return true;
  }

  // All states that agree with `now`, on the way from `from` that agree with `old`.
  States follow(const States &from, const Seen &old, const Seen &now, u64 may, int must) {
    Seen way(now); for (size_t i = 0; i < way.size(); i++) way[i] |= old[i];
    States seen[2], found; std::vector<std::pair<S, bool>> todo;
    std::set<const char *> used;
    for (auto &s : from) if (seen[must < 0].insert(s).second) todo.push_back({s, must < 0});
    while (!todo.empty()) {
      auto [s, done] = todo.back(); todo.pop_back();
      if (done && agrees(now, fields, s)) found.insert(s);
      M::next(s, [&](const S &t, const char *name, int = 0) {
        int k = kind(name); bool first = k >= 0 && k == must && !done;
        if (k >= 0 && !first && !(may >> k & 1)) return;
        // What happened just then happened to what was seen before, and left what was seen after.
        if (must >= 0 ? !first && !done : false) return;
        if (!agrees(must >= 0 ? now : way, fields, t)) return;
        if (seen[done || first].insert(t).second) { todo.push_back({t, done || first}); used.insert(name); }
      });
      if (seen[0].size() + seen[1].size() > LIMIT) throw std::string("too many states agree");
    }
    for (auto name : used) taken[name]++;
    if (found.size() > widest) widest = found.size();
    return found;
  }

  void show(const States &states) {
    std::set<std::string> rows; std::set<std::string> next;
    for (auto &s : states) {
      std::string row; for (auto &f : fields) row += std::string(row.empty() ? "" : " ") + f.name + "=" + wordOf(f, f.value(s));
      rows.insert(row);
      M::next(s, [&](const S &, const char *name, int = 0) { next.insert(name); });
    }
    printf("    %zu states of the model agreed before; what they show:\n", states.size());
    int some = 3; for (auto &row : rows) if (some-- > 0) printf("      %s\n", row.c_str());
    printf("    the model's next steps there:\n"); for (auto &name : next) printf("      %s\n", name.c_str());
  }

  // Reads all traces of a stream; tells of each that is no path. 0 all are paths, 1 one is not. Throws words.
  int run(std::istream &in) {
    std::string text, name; States states; Seen seen; bool skip = true, begun = false;
    while (std::getline(in, text)) {
      std::istringstream words(text); std::string where, word;
      if (!(words >> where)) { skip = true; continue; }
      if (where == "trace") {
        words >> name; traces++; skip = false; begun = true;
        states = {M::init()}; seen.assign(fields.size(), ANY);
        continue;
      }
      if (!begun) throw std::string("a line before the first trace");
      if (skip) continue;
      lines++;
      Seen now = seen; u64 may = 0; int must = -1; const bool first = seen == Seen(fields.size(), ANY);
      while (words >> word) {
        if (word[0] == '?') { may |= 1ull << kindOf(word.substr(1)); continue; }
        if (word[0] == '!') { must = kindOf(word.substr(1)); continue; }
        size_t eq = word.find('='), i = 0; std::string field = word.substr(0, eq);
        while (i < fields.size() && fields[i].name != field) i++;
        if (eq == std::string::npos || i == fields.size()) throw std::string("neither a step nor a field: ") + word;
        u64 values = 0; std::istringstream each(word.substr(eq + 1));
        for (std::string value; std::getline(each, value, '|');) values |= value == "?" ? ANY : 1ull << valueOf(fields[i], value);
        now[i] = values;
      }
      States next = follow(states, first ? now : seen, now, may, must);
      if (next.empty()) {
        printf("NO PATH %s at: %s\n", name.c_str(), text.c_str()); show(states);
        wrong++; skip = true; continue;
      }
      states.swap(next); seen.swap(now);
    }
    printf("%llu traces, %llu lines: %d no path of the model; at most %llu states agreed\n", (unsigned long long)traces, (unsigned long long)lines, wrong, (unsigned long long)widest);
    printf("steps of the model taken on the way, by the lines that took them:\n");
    for (auto &each : taken) printf("  %10llu %s\n", (unsigned long long)each.second, each.first.c_str());
    return wrong ? 1 : 0;
  }
};
