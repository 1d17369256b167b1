// Package uapi serves the configuration protocol of WireGuard's cross-platform userspace interface, by which wg(8) shows and
// changes a running engine: https://www.wireguard.com/xplatform/.
//
// Reading order: key.go (keys, of which the secret ones do not print), state.go (what an interface is, and a change of one),
// apply.go (what a change makes of a state: the meaning of every request, with allowed addresses that move from peer to peer),
// parse.go (a "set" request), print.go (the answer to "get"), server.go (connections and operations), listen.go (the socket and its
// file).
//
// A request is read whole before anything happens: one with a mistake anywhere changes nothing, and is read to its end, so that
// the next one on the connection is understood. Answers carry an errno with the sign that wg(8) expects; the text of an error goes
// to Options.Report, with the line and the name of the key but never with its value.
//
// The socket is made here and not by golang.zx2c4.com/wireguard/ipc, which knows one directory for the whole process, changes
// the process's umask while other goroutines make files, and cannot be closed without a race between its goroutines. As that
// does, the server ends when its socket's file is deleted: the protocol asks for it.
//
// # Concurrency
//
// A Server has a goroutine for each connection and one that watches the file; it calls its Device from one of them at a time.
// Serve and Close may be called from any goroutine, but Close not from within a Device: it waits for the Device's return.
//
// # Coverage
//
// get=1 and set=1 with all keys of the protocol, allowed_ip with "-" in front (what newer programs remove addresses with), and
// several operations on a connection. Not done: the named pipes of Windows.
package uapi
