// Command demo is the main job, to be seen at work: it starts the collector and
// the model server with folders of their own, uploads the digit model, runs it
// on the held-out digits, prints what was sent, and leaves the console open
// until Ctrl-C. With -once it checks what it has seen, ends all that it started,
// and exits with 0 only if everything was right.
//
// It uses the built programs in bin/ as a user would, and nothing of their
// code. `make run` calls it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	once := flag.Bool("once", false, "check what was seen, end everything, and exit")
	bin := flag.String("bin", "bin", "folder of the built programs")
	digits := flag.String("digits", "testdata/digits", "folder of the model and the held-out digits")
	listen := flag.String("listen", "127.0.0.1:8080", "address of the console; with -once any free port is taken")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	addr := *listen
	if *once {
		addr = "127.0.0.1:0"
	}
	if err := demo(ctx, *bin, *digits, addr, *once); err != nil {
		fmt.Fprintln(os.Stderr, "make run: "+err.Error())
		os.Exit(1)
	}
}

// perRun is how many held-out digits go into one run of the model.
const perRun = 10

func demo(ctx context.Context, bin, digitsDir, addr string, once bool) (err error) {
	d, err := readDigits(digitsDir)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "blindai-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demonstration: %w", err)
	}
	defer os.RemoveAll(dir)

	fmt.Println("Starting the collector and the model server ...")
	c, err := startCollector(ctx, bin, filepath.Join(dir, "collector"), addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	s, err := startServer(ctx, bin, filepath.Join(dir, "state"), c.url, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	model := filepath.Join(digitsDir, "digits.onnx")
	id, err := s.upload(ctx, model)
	if err != nil {
		return err
	}
	fmt.Printf("Uploaded %s.\n", model)
	correct, runs, err := s.classify(ctx, id, d, dir)
	if err != nil {
		return err
	}
	fmt.Printf("Ran it %d times on %d held-out digits: %d right (%.1f %%).\n\n", runs, len(d.labels), correct, 100*float64(correct)/float64(len(d.labels)))

	want := 2 + runs
	events, err := c.waitForEvents(ctx, want)
	if err != nil {
		return err
	}
	printSent(os.Stdout, events)
	fmt.Printf("\nConsole: %s/\n", c.url)

	if once {
		if correct != d.reported {
			return fmt.Errorf("%d digits are right, but the training script reported %d", correct, d.reported)
		}
		if err := checkSent(events, model, runs); err != nil {
			return err
		}
		if err := c.checkConsole(ctx); err != nil {
			return err
		}
		fmt.Println("\nEverything is as it should be.")
		return nil
	}
	fmt.Println("Ctrl-C ends it and removes its folders.")
	select {
	case <-ctx.Done():
		fmt.Println()
		return nil
	case <-c.ended:
		return errors.New("the collector has ended by itself")
	case <-s.ended:
		return errors.New("the model server has ended by itself")
	}
}

// patience bounds each wait for something that takes a moment.
const patience = 30 * time.Second
