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
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Run the engine in the foreground until SIGTERM or Ctrl-C",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd, args[0], socket)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "control socket; overrides the configuration (default "+warren.DefaultSocket()+")")
	return cmd
}

func run(cmd *cobra.Command, file, socket string) error {
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
		Args:  cobra.ExactArgs(1),
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
