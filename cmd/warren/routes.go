package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

func newRoutes() *cobra.Command {
	q := new(question)
	var source string
	cmd := q.command("routes [PREFIX|ADDRESS]", "The routes: all, or the one that covers an address and those within a prefix",
		func(cmd *cobra.Command, c *warren.Client, args []string) error {
			if source != "" && !slices.Contains(warren.RouteSources(), source) {
				return usageError{fmt.Errorf("--source %q: want one of %s", source, strings.Join(warren.RouteSources(), ", "))}
			}
			rs, err := c.Routes(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			rs = slices.DeleteFunc(rs, func(r warren.RouteStatus) bool {
				return source != "" && !slices.ContainsFunc(r.Paths, func(p warren.PathStatus) bool { return p.Source == source })
			})
			return q.show(cmd.OutOrStdout(), rs, func(w io.Writer) {
				if len(rs) == 0 && len(args) > 0 && source == "" {
					fmt.Fprintf(w, "no route covers %s or lies within it\n", args[0])
					return
				}
				printRoutes(w, rs, len(args) > 0 || source != "")
			})
		})
	cmd.Flags().StringVar(&source, "source", "", "only prefixes for which this source offers a path: "+strings.Join(warren.RouteSources(), ", "))
	return cmd
}

// printRoutes prints where the prefixes lead; in detail, also what else was offered and why it lost.
func printRoutes(w io.Writer, rs []warren.RouteStatus, detail bool) {
	if !detail {
		t := newTable(w, "VRF", "PREFIX", "VIA", "SOURCE")
		for _, r := range rs {
			t.row(r.VRF, r.Prefix, hops(r.Hops), sources(r.Paths))
		}
		t.flush()
		return
	}
	t := newTable(w, "VRF", "PREFIX", "", "VIA", "SOURCE", "FROM", "PREF", "AS PATH", "WHY")
	for _, r := range rs {
		for i, p := range r.Paths {
			vrf, prefix := r.VRF, r.Prefix.String()
			if i > 0 {
				vrf, prefix = "", ""
			}
			t.row(vrf, prefix, mark(p.Used), p.Via, p.Source, p.From, p.Preference, p.ASPath, p.Why)
		}
	}
	t.flush()
}

func mark(used bool) string {
	if used {
		return "*"
	}
	return ""
}

func hops(hs []warren.HopStatus) string {
	if len(hs) == 0 {
		return "nowhere: all paths are down"
	}
	vias := make([]string, len(hs))
	for i, h := range hs {
		vias[i] = strings.TrimSpace(h.Kind + " " + h.Via)
		if h.Kind == "unreachable" {
			vias[i] = h.Kind
		}
		if len(hs) > 1 {
			vias[i] += fmt.Sprintf(" weight %d", h.Weight)
		}
	}
	return strings.Join(vias, ", ")
}

// sources are those of the paths in use, each once.
func sources(ps []warren.PathStatus) string {
	var names []string
	for _, p := range ps {
		if p.Used && !slices.Contains(names, p.Source) {
			names = append(names, p.Source)
		}
	}
	return strings.Join(names, ", ")
}

func newBGP() *cobra.Command {
	q := new(question)
	return q.command("bgp [NEIGHBOR]", "The BGP neighbors: state, since when, prefixes, last error",
		func(cmd *cobra.Command, c *warren.Client, args []string) error {
			all, err := c.Neighbors(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) > 0 {
				var names []string
				one := slices.DeleteFunc(slices.Clone(all), func(n warren.NeighborStatus) bool {
					names = append(names, n.Name)
					return n.Name != args[0] && n.Address.String() != args[0]
				})
				if len(one) == 0 {
					return noSuch("neighbor", args[0], names)
				}
				all = one
			}
			return q.show(cmd.OutOrStdout(), all, func(w io.Writer) { printNeighbors(w, all) })
		})
}

func printNeighbors(w io.Writer, ns []warren.NeighborStatus) {
	t := newTable(w, "NEIGHBOR", "VRF", "ADDRESS", "AS", "VIA", "STATE", "SINCE", "BFD", "IN", "USED", "OUT", "LAST ERROR")
	for _, n := range ns {
		t.row(n.Name, n.VRF, n.Address, n.NeighborAS, n.Via, n.State, time.Since(n.Since).Round(time.Second).String()+" ago", n.BFD,
			n.PrefixesIn, n.Used, n.PrefixesOut, n.LastError)
	}
	t.flush()
}

func newExplain() *cobra.Command {
	q := new(question)
	var vrf string
	cmd := q.command("explain SOURCE DESTINATION", "The way that a packet from one address to another would go, or why it would not",
		func(cmd *cobra.Command, c *warren.Client, args []string) error {
			all, err := c.Explain(cmd.Context(), vrf, args[0], args[1])
			if err != nil {
				return err
			}
			return q.show(cmd.OutOrStdout(), all, func(w io.Writer) {
				for _, x := range all {
					printExplanation(w, &x)
				}
			})
		})
	cmd.Flags().StringVar(&vrf, "vrf", "", "the routing domain; all of them unless named")
	return cmd
}

func printExplanation(w io.Writer, x *warren.Explanation) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-8s"+format+"\n", append([]any{name}, args...)...)
	}
	fmt.Fprintf(w, "vrf %s\n", x.VRF)
	if x.Prefix.IsValid() {
		line("route", "%v", x.Prefix)
		for _, p := range x.Paths {
			line("", "%1s %s from %s via %s: %s", mark(p.Used), p.Source, p.From, p.Via, p.Why)
		}
	}
	if x.Member.Via != "" {
		of := ""
		if x.Members > 1 {
			of = fmt.Sprintf(", one of %d; ports spread flows over them", x.Members)
		}
		line("member", "%s %s%s", x.Member.Kind, x.Member.Via, of)
	}
	switch {
	case x.Child != "" && x.Suite != "":
		line("SA", "%s, %s, to %s", x.Child, x.Suite, peer(x.Peer))
	case x.Child != "":
		line("SA", "%s, to %s: %s", x.Child, peer(x.Peer), x.Why)
	case x.Suite != "":
		line("SA", "%s, to %s", x.Suite, peer(x.Peer))
	}
	if x.MTU > 0 {
		line("MTU", "%d", x.MTU)
	}
	if x.Drop != "" {
		line("drop", "%s: %s", x.Drop, x.Why)
	}
}
