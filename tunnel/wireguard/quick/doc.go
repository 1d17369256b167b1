// Package quick reads and writes the configuration files of wg(8) and wg-quick(8), and makes WireGuard keys.
//
// Reading order: key.go (Key is secret and does not print, PublicKey is not and does), config.go (what a file says), parse.go
// (sections, lines, where a mistake is), interface.go and peer.go (the keys of each section), value.go (numbers, prefixes,
// endpoints), error.go (a mistake), write.go (a file again).
//
// A file is read as wg(8) and wg-quick(8) read it: names in any case, "#" begins a comment, lists in one line or many, and where a
// setting has two values the last one counts. It is stricter where they guess or are silent: ports are numbers, an IPv6
// endpoint stands in brackets, a public key names one peer only, a setting has no spaces inside. All mistakes are reported
// at once, each with its place and what would be right. No error and no listing shows a key, nor what might be one.
//
// What a file may say and an engine without a shell does not do (hooks, DNS, SaveConfig) is parsed, written back by
// Write, and listed in Config.Ignored for the program to say.
//
// # Concurrency
//
// Functions only; a Config belongs to whoever parsed it.
//
// # Coverage
//
// wg(8) "CONFIGURATION FILE FORMAT" and wg-quick(8) "CONFIGURATION": all keys. Not done: "+" and "-" in front of allowed
// addresses (changes, which a file has no use for), service names as ports, names looked up (an Endpoint keeps its name for
// the engine, which looks it up again when it should).
package quick
