package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

// question is what the commands that ask a running engine have in common.
type question struct {
	socket string
	json   bool
}

func (q *question) command(use, short string, run func(cmd *cobra.Command, c *warren.Client, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, args []string) error {
		return run(cmd, warren.NewClient(q.socket), args)
	}}
	cmd.Flags().StringVar(&q.socket, "socket", warren.DefaultSocket(), "control socket of the engine")
	cmd.Flags().BoolVar(&q.json, "json", false, "print JSON for programs instead of a table")
	return cmd
}

// show prints v as JSON, or by the table function.
func (q *question) show(w io.Writer, v any, table func(io.Writer)) error {
	if !q.json {
		table(w)
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newStatus() *cobra.Command {
	q := new(question)
	return q.command("status", "Everything at a glance: ports, tunnels, traffic, drops",
		func(cmd *cobra.Command, c *warren.Client, _ []string) error {
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			return q.show(cmd.OutOrStdout(), s, func(w io.Writer) { printStatus(w, s) })
		})
}

func newTunnels() *cobra.Command {
	q := new(question)
	return q.command("tunnels [NAME]", "The tunnels: peers, MTU, traffic",
		func(cmd *cobra.Command, c *warren.Client, args []string) error {
			ts, err := tunnels(cmd, c, args)
			if err != nil {
				return err
			}
			return q.show(cmd.OutOrStdout(), ts, func(w io.Writer) { printTunnels(w, ts) })
		})
}

func newDrops() *cobra.Command {
	q := new(question)
	return q.command("drops [TUNNEL]", "Packets that went no further, by reason, tunnel and worker",
		func(cmd *cobra.Command, c *warren.Client, args []string) error {
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			type tally struct {
				Where string            `json:"where"`
				Name  string            `json:"name"`
				Drops map[string]uint64 `json:"drops"`
			}
			all := []tally{}
			if len(args) == 0 {
				for _, w := range s.Workers {
					all = append(all, tally{"worker", w.Name, w.Drops})
				}
			}
			ts, err := named(s, args)
			if err != nil {
				return err
			}
			for _, t := range ts {
				all = append(all, tally{"tunnel", t.Name, t.Drops})
			}
			return q.show(cmd.OutOrStdout(), all, func(w io.Writer) {
				t := newTable(w, "WHERE", "NAME", "REASON", "PACKETS")
				for _, a := range all {
					for _, r := range slices.Sorted(maps.Keys(a.Drops)) {
						t.row(a.Where, a.Name, r, a.Drops[r])
					}
				}
				t.flush()
			})
		})
}

// tunnels asks for the tunnels, or for the one that is named.
func tunnels(cmd *cobra.Command, c *warren.Client, args []string) ([]warren.TunnelStatus, error) {
	s, err := c.Status(cmd.Context())
	if err != nil {
		return nil, err
	}
	return named(s, args)
}

func named(s *warren.Status, args []string) ([]warren.TunnelStatus, error) {
	if len(args) == 0 {
		return s.Tunnels, nil
	}
	var names []string
	for _, t := range s.Tunnels {
		if t.Name == args[0] {
			return []warren.TunnelStatus{t}, nil
		}
		names = append(names, t.Name)
	}
	return nil, noSuch("tunnel", args[0], names)
}

// noSuch says that a name is nobody's, and what names there are.
func noSuch(kind, name string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("there is no %s %q, and no other", kind, name)
	}
	return fmt.Errorf("there is no %s %q; there are: %s", kind, name, strings.Join(names, ", "))
}

func printStatus(w io.Writer, s *warren.Status) {
	fmt.Fprintf(w, "engine %s, up %v\n\n", s.State, s.Uptime.Round(time.Second))
	t := newTable(w, "VRF", "PORT", "MTU", "ADDRESSES", "ROUTES")
	for _, v := range s.VRFs {
		var as []string
		for _, a := range v.Port.Addresses {
			as = append(as, a.String())
		}
		t.row(v.Name, v.Port.Kind+" "+v.Port.Name, v.Port.MTU, strings.Join(as, " "), v.Routes)
	}
	t.flush()
	fmt.Fprintln(w)
	printTunnels(w, s.Tunnels)
	if len(s.Tunnels) > 0 {
		fmt.Fprintln(w)
		printSAs(w, sasOf(s.Tunnels), time.Now())
	}
	if len(s.Neighbors) > 0 {
		fmt.Fprintln(w)
		printNeighbors(w, s.Neighbors)
	}
	if len(s.Forwards) > 0 {
		fmt.Fprintln(w)
		printForwards(w, s.Forwards)
	}
	if len(s.Drops) == 0 {
		return
	}
	fmt.Fprintln(w)
	t = newTable(w, "DROPPED FOR", "PACKETS")
	for _, r := range slices.Sorted(maps.Keys(s.Drops)) {
		t.row(r, s.Drops[r])
	}
	t.flush()
}

// peer is where a peer is: with a port, if it has one, as ESP without UDP has not; "-" where that is not known.
func peer(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return "-"
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}

func printTunnels(w io.Writer, ts []warren.TunnelStatus) {
	t := newTable(w, "TUNNEL", "KIND", "STATE", "VRF", "REMOTE", "ENCAP", "MTU", "OUT", "IN", "DROPPED")
	for _, s := range ts {
		var dropped uint64
		for _, n := range s.Drops {
			dropped += n
		}
		name, state := s.Name, s.State
		if s.Client != "" {
			name += " " + s.Client
		}
		why := slices.Clone(s.Troubles)
		if s.LastError != "" && !slices.Contains(why, s.LastError) {
			why = append(why, s.LastError)
		}
		if len(why) > 0 {
			state += " (" + strings.Join(why, ", ") + ")"
		}
		t.row(name, s.Kind, state, s.VRF, peer(s.Remote), s.Encap, s.InnerMTU,
			traffic(s.OutPackets, s.OutBytes), traffic(s.InPackets, s.InBytes), dropped)
	}
	t.flush()
}
