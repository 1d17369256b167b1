package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns the exit status.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	out := &output{to: stdout}
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil && out.err != nil {
		err = fmt.Errorf("write standard output: %w", out.err)
	}
	if err == nil {
		return 0
	}
	var silent exitStatus
	if errors.As(err, &silent) {
		return int(silent)
	}
	fmt.Fprintf(stderr, "warren: %v\n", err)
	var bad warren.ConfigErrors
	var usage usageError
	if errors.As(err, &bad) || errors.As(err, &usage) {
		return 2
	}
	return 1
}

// output is standard output. It remembers what could not be written, so that printing needs not look each time: half a table is no
// success.
type output struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// exitStatus ends the program with a status after the command has said itself what was wrong.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a mistake on the command line.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "warren",
		Short: "A VPN engine in userspace: ESP tunnels without kernel IPsec, routes that pick the tunnel",
		Long: `warren joins sites by encrypted tunnels, without kernel IPsec and, where there is no TUN device, without any
privilege. Try "warren demo" first: three sites in one process.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath())}
	})
	root.AddCommand(newRun(), newCheck(), newDemo())
	root.AddCommand(newStatus(), newTunnels(), newSAs(), newRoutes(), newBGP(), newExplain(), newDrops(), newForward(), newCapture())
	root.AddCommand(newTunnelCommands()...)
	root.AddCommand(newReload())
	root.AddCommand(newImport())
	root.AddCommand(newKeyCommands()...)
	for _, c := range root.Commands() {
		c.Args = arguments(c.Use)
	}
	return root
}

// unknownCommand sees that nothing is left which would be a command.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if like := root.SuggestionsFor(args[0]); len(like) > 0 {
		hint = fmt.Sprintf("; did you mean %s?", strings.Join(like, " or "))
	}
	return usageError{fmt.Errorf("there is no command %q%s (see `%s --help`)", args[0], hint, root.CommandPath())}
}

// arguments sees that there are those which a usage line names; the ones in brackets may be missing.
func arguments(use string) cobra.PositionalArgs {
	names := strings.Fields(use)[1:]
	return func(cmd *cobra.Command, args []string) error {
		var problem string
		switch missing := names[min(len(args), len(names)):]; {
		case len(args) > len(names):
			problem = fmt.Sprintf("%q is more than it takes", args[len(names)])
		case len(missing) > 0 && !strings.HasPrefix(missing[0], "["):
			problem = strings.Join(missing, " and ") + " is missing"
			if len(missing) > 1 {
				problem = strings.Join(missing, " and ") + " are missing"
			}
		default:
			return nil
		}
		return usageError{fmt.Errorf("%s: %s\nusage: %s", cmd.Name(), problem, cmd.UseLine())}
	}
}

// version is what the build recorded.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
