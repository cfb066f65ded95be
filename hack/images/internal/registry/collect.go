package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	library "github.com/distribution/distribution/v3/registry/storage"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// CollectOptions are the flags of "registry garbage-collect".
type CollectOptions struct {
	// DryRun only says what would be deleted.
	DryRun bool
	// DeleteUntagged deletes manifests that have no tag and that no index refers to.
	DeleteUntagged bool
	// Settle is how long to wait before what is there is looked through. Pushes that are under way end in that time.
	Settle time.Duration
}

// Collect deletes the blobs that no manifest refers to. No registry of the storage takes pushes meanwhile.
func Collect(ctx context.Context, config *configuration.Configuration, o CollectOptions, log *slog.Logger) error {
	storage, err := openStorage(ctx, config)
	if err != nil {
		return err
	}
	probing, cancel := context.WithTimeout(ctx, probeTimeout)
	err = storage.probe(probing, false)
	cancel()
	if err != nil {
		return awayError{err}
	}
	if o.DryRun {
		return sweep(ctx, storage.StorageDriver, o)
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	log.Info("registries of this storage are read-only now", "settle", o.Settle.String())
	lease, err := takeLease(ctx, storage.StorageDriver, fmt.Sprintf("%s (process %d)", host, os.Getpid()), o.Settle)
	if err != nil {
		return err
	}
	renewing, stop := context.WithCancel(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() { lease.renew(renewing) })
	err = sweep(ctx, lease, o)
	stop()
	renewal.Wait()
	if failed := lease.release(ctx); failed != nil {
		return errors.Join(err, fmt.Errorf("registries stay read-only for up to %s: %w", leaseTime, failed))
	}
	log.Info("registries take pushes again")
	return err
}

func sweep(ctx context.Context, driver storagedriver.StorageDriver, o CollectOptions) error {
	if _, err := driver.Stat(ctx, "/docker/registry/v2/repositories"); errors.As(err, new(storagedriver.PathNotFoundError)) {
		return nil // nothing was ever pushed
	}
	images, err := library.NewRegistry(ctx, driver)
	if err != nil {
		return err
	}
	return library.MarkAndSweep(ctx, driver, images, library.GCOpts{DryRun: o.DryRun, RemoveUntagged: o.DeleteUntagged})
}
