package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

func newRun() *cobra.Command {
	var socket string
	var takeOver bool
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Run the engine in the foreground until SIGTERM or Ctrl-C",
		Long: `run runs the engine in the foreground until SIGTERM or Ctrl-C. With --take-over it takes the place of the engine that
answers on the control socket, as for a new version of the program: when FILE has proved right, the other hands over its TUN devices
and what BGP neighbors have announced, and ends. Routes stay in the kernel, and neighbors keep ours (RFC 4724). Where no engine
answers, or it will not hand over, nothing is started.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd, args[0], socket, takeOver)
		},
	}
	cmd.Flags().BoolVar(&takeOver, "take-over", false, "take the place of the engine that runs")
	cmd.Flags().StringVar(&socket, "socket", "", "control socket; overrides the configuration (default "+warren.DefaultSocket()+")")
	return cmd
}

func run(cmd *cobra.Command, file, socket string, takeOver bool) error {
	cfg, err := warren.LoadConfig(file)
	if err != nil {
		return err
	}
	signals, stop := hangups()
	defer stop()
	level := new(slog.LevelVar)
	level.Set(cfg.LogLevel())
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	again := &reloader{file: file, log: log, level: level}
	for _, w := range cfg.Warnings {
		log.Warn(w.String())
	}
	eng, err := warren.New(cfg, warren.WithLogger(log), warren.WithReload(again.reload))
	if err != nil {
		return err
	}
	again.engine = eng
	if socket == "" {
		socket = cfg.ControlSocket()
	}
	if takeOver {
		legacy, err := warren.NewClient(socket).TakeOver(cmd.Context())
		if errors.Is(err, warren.ErrNotRunning) {
			return fmt.Errorf("%w on %s, so that there is none to take over from: start without --take-over", warren.ErrNotRunning, socket)
		}
		if err != nil {
			return err
		}
		eng.Inherit(legacy)
	}
	// The socket first: it tells a second engine on it before that one has touched any device.
	ln, err := warren.ListenControl(cmd.Context(), socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	control := make(chan error, 1)
	hung := make(chan struct{})
	go func() {
		defer close(hung)
		again.onHangup(ctx, signals)
	}()
	go func() {
		control <- eng.ServeControl(ctx, ln)
		cancel()
	}()
	err = eng.Run(ctx)
	cancel()
	<-hung
	return errors.Join(err, <-control)
}

func newCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a configuration is good, or every mistake with its line",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := warren.LoadConfig(args[0])
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(cmd.OutOrStdout(), "warning:", w.String())
			}
			fmt.Fprintln(cmd.OutOrStdout(), "configuration OK")
			return nil
		},
	}
}
