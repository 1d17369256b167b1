package main

import (
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

// tunnelSAs are the SAs of one tunnel, for programs.
type tunnelSAs struct {
	Tunnel   string               `json:"tunnel"`
	IKE      []warren.IKEStatus   `json:"ike"`
	Children []warren.ChildStatus `json:"children"`
	// WireGuard is there where the tunnel is of that kind, and has none of the others then.
	WireGuard *warren.WireGuardStatus `json:"wireguard,omitzero"`
}

func sasOf(ts []warren.TunnelStatus) []tunnelSAs {
	all := []tunnelSAs{}
	for i := range ts {
		t := &ts[i]
		all = append(all, tunnelSAs{t.Name, append([]warren.IKEStatus{}, t.IKE...), t.Children, t.WireGuard})
	}
	return all
}

func newSAs() *cobra.Command {
	q := new(question)
	return q.command("sas [TUNNEL]", "The IKE SAs, child SAs and WireGuard peers of the tunnels: states, suites, SPIs, selectors, traffic",
		func(cmd *cobra.Command, c *warren.Client, args []string) error {
			ts, err := tunnels(cmd, c, args)
			if err != nil {
				return err
			}
			all := sasOf(ts)
			return q.show(cmd.OutOrStdout(), all, func(w io.Writer) { printSAs(w, all, time.Now()) })
		})
}

// printSAs tells what `swanctl --list-sas` and `wg show` tell. Of a kind that no tunnel has there is no table, but for child SAs
// where there would be none at all.
func printSAs(w io.Writer, all []tunnelSAs, now time.Time) {
	var tables []func()
	ikes, children, peers := 0, 0, 0
	for i := range all {
		ikes, children = ikes+len(all[i].IKE), children+len(all[i].Children)
		if all[i].WireGuard != nil {
			peers++
		}
	}
	if ikes > 0 {
		tables = append(tables, func() { printIKESAs(w, all, now) })
	}
	if children > 0 || peers == 0 {
		tables = append(tables, func() { printChildSAs(w, all, now) })
	}
	if peers > 0 {
		tables = append(tables, func() { printPeers(w, all, now) })
	}
	for i, print := range tables {
		if i > 0 {
			_, _ = io.WriteString(w, "\n") // a table that is not written is noticed by what follows
		}
		print()
	}
}

func printIKESAs(w io.Writer, all []tunnelSAs, now time.Time) {
	t := newTable(w, "TUNNEL", "IKE", "LOCAL", "REMOTE", "SUITE", "SPI INITIATOR", "SPI RESPONDER", "AGE", "REKEY", "REAUTH", "HEARD", "LEASED")
	for _, s := range all {
		for i := range s.IKE {
			k := &s.IKE[i]
			ours, theirs := "", "*" // who is the initiator, as swanctl marks it
			if k.Initiator {
				ours, theirs = "*", ""
			}
			t.row(s.Tunnel, k.State, who(k.LocalID, k.Local)+ours, who(k.RemoteID, k.Remote)+theirs, k.Suite, k.SPIInitiator, k.SPIResponder,
				ago(k.Since, now), left(k.Rekey, now), left(k.Reauth, now), ago(k.Heard, now), addrs(k.Leased))
		}
	}
	t.flush()
}

func printChildSAs(w io.Writer, all []tunnelSAs, now time.Time) {
	t := newTable(w, "TUNNEL", "CHILD", "STATE", "SUITE", "ESN", "SPI OUT", "SPI IN", "OUT", "IN", "WINDOW", "AGE", "REKEY", "EXPIRES", "LOCAL", "REMOTE")
	for _, s := range all {
		for i := range s.Children {
			c := &s.Children[i]
			t.row(s.Tunnel, c.Name, c.State, c.Suite, yesNo(c.ESN), c.SPIOut, c.SPIIn, traffic(c.OutPackets, c.OutBytes), traffic(c.InPackets, c.InBytes),
				c.ReplayWindow, ago(c.Since, now), left(c.Rekey, now), left(c.Expires, now), strings.Join(c.LocalTS, " "), strings.Join(c.RemoteTS, " "))
		}
	}
	t.flush()
}

func printPeers(w io.Writer, all []tunnelSAs, now time.Time) {
	t := newTable(w, "TUNNEL", "PEER", "ENDPOINT", "ALLOWED IPS", "LAST HANDSHAKE", "SENT", "RECEIVED", "KEEPALIVE", "PSK")
	for _, s := range all {
		p := s.WireGuard
		if p == nil {
			continue
		}
		allowed := make([]string, len(p.AllowedIPs))
		for i, a := range p.AllowedIPs {
			allowed[i] = a.String()
		}
		if p.AllowedIPs == nil {
			allowed = []string{"all"}
		}
		keepalive := "-"
		if p.PersistentKeepalive > 0 {
			keepalive = p.PersistentKeepalive.String()
		}
		t.row(s.Tunnel, p.PublicKey, p.Endpoint, strings.Join(allowed, " "), ago(p.LastHandshake, now), size(p.SentBytes), size(p.ReceivedBytes),
			keepalive, yesNo(p.PresharedKey))
	}
	t.flush()
}

func who(id string, at netip.AddrPort) string {
	if id == "" {
		return at.String()
	}
	return id + " @ " + at.String()
}

// ago and left write how long a time has passed, or is to come; "-" where there is none.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return max(0, now.Sub(t)).Round(time.Second).String()
}

func left(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return max(0, t.Sub(now)).Round(time.Second).String()
}

func addrs(all []netip.Addr) string {
	if len(all) == 0 {
		return "-"
	}
	var words []string
	for _, a := range all {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}
