package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/google/uuid"
)

// leasePath is beside the registry's own files. All registries of a storage see it.
const leasePath = "/fleet/garbage-collection"

// leaseTime is how long a collector that vanished keeps registries read-only.
const leaseTime = 10 * time.Minute

// lease says that one process collects garbage. While it is valid, no registry takes pushes.
type lease struct {
	Holder  string    `json:"holder"`
	ID      string    `json:"id"`
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires"`
}

func (l *lease) valid(now time.Time) bool { return l != nil && now.Before(l.Expires) }

func (l *lease) String() string {
	return fmt.Sprintf("read-only: %s collects garbage since %s: try again when it is done", l.Holder, l.Since.UTC().Format(time.RFC3339))
}

// readLease returns the lease in the storage; nil if there is none.
func readLease(ctx context.Context, driver storagedriver.StorageDriver) (*lease, error) {
	data, err := driver.GetContent(ctx, leasePath)
	switch {
	case errors.As(err, new(storagedriver.PathNotFoundError)):
		return nil, nil
	case err != nil:
		return nil, err
	}
	var l lease
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("%s in the storage is not a lease: remove it if nothing collects garbage: %w", leasePath, err)
	}
	return &l, nil
}

func (l *lease) write(ctx context.Context, driver storagedriver.StorageDriver) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return driver.PutContent(ctx, leasePath, data)
}

// collecting is a lease that this process holds and renews. Deletes go through it, so that a process that was stopped for
// longer than its lease deletes nothing any more.
type collecting struct {
	storagedriver.StorageDriver
	now func() time.Time

	mu    sync.Mutex
	lease lease
}

// takeLease takes the lease and waits until what was pushed before has settled. Storage has no transactions: of two that take
// it at the same time the later one has it, and the other one sees that after the wait.
func takeLease(ctx context.Context, driver storagedriver.StorageDriver, holder string, settle time.Duration) (*collecting, error) {
	other, err := readLease(ctx, driver)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if other.valid(now) {
		return nil, fmt.Errorf("%s collects garbage since %s: there can be only one; if it was killed, wait until %s",
			other.Holder, other.Since.UTC().Format(time.RFC3339), other.Expires.UTC().Format(time.RFC3339))
	}
	c := &collecting{StorageDriver: driver, now: time.Now,
		lease: lease{Holder: holder, ID: uuid.NewString(), Since: now, Expires: now.Add(leaseTime + settle)}}
	if err := c.lease.write(ctx, driver); err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), c.release(ctx))
	case <-time.After(settle):
	}
	if other, err = readLease(ctx, driver); err != nil {
		return nil, err
	}
	if other == nil || other.ID != c.lease.ID {
		return nil, errors.New("another process began to collect garbage at the same time: there can be only one")
	}
	return c, nil
}

// renew writes the lease anew until ctx ends.
func (c *collecting) renew(ctx context.Context) {
	ticker := time.NewTicker(leaseTime / 10)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		c.mu.Lock()
		next := c.lease
		c.mu.Unlock()
		next.Expires = c.now().Add(leaseTime)
		if next.write(ctx, c.StorageDriver) == nil {
			c.mu.Lock()
			c.lease = next
			c.mu.Unlock()
		}
	}
}

// release ends the lease, also when ctx has ended.
func (c *collecting) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return c.StorageDriver.Delete(ctx, leasePath)
}

// Delete deletes while the lease is valid. A minute before its end it is too late: clocks differ.
func (c *collecting) Delete(ctx context.Context, path string) error {
	c.mu.Lock()
	l := c.lease
	c.mu.Unlock()
	if !l.valid(c.now().Add(time.Minute)) {
		return errors.New("the lease on the storage could not be renewed: registries take pushes again")
	}
	return c.StorageDriver.Delete(ctx, path)
}
