package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/azure"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
)

// storage is where the images are: the driver, and a way to ask whether it is there, which fails at once instead of retrying.
type storage struct {
	storagedriver.StorageDriver
	// probe returns why storage cannot be used. create means that what is missing may be created.
	probe func(ctx context.Context, create bool) error
	// local means that a probe costs nothing, and that a push while storage is away would be written elsewhere: to the directory
	// that it is not mounted on.
	local bool
}

func openStorage(ctx context.Context, config *configuration.Configuration) (*storage, error) {
	kind := config.Storage.Type()
	driver, err := factory.Create(ctx, kind, config.Storage.Parameters())
	if err != nil {
		return nil, fmt.Errorf("storage.%s: %w", kind, err)
	}
	s := &storage{StorageDriver: driver}
	switch kind {
	case "azure":
		s.probe, err = azureProbe(config.Storage.Parameters())
	case "filesystem":
		s.local = true
		s.probe = directoryProbe(fmt.Sprint(config.Storage.Parameters()["rootdirectory"]))
	default:
		s.probe = driverProbe(driver)
	}
	return s, err
}

// driverProbe asks the driver for its root.
func driverProbe(driver storagedriver.StorageDriver) func(context.Context, bool) error {
	return func(ctx context.Context, _ bool) error {
		_, err := driver.Stat(ctx, "/")
		if errors.As(err, new(storagedriver.PathNotFoundError)) {
			return nil // it answers, and is empty
		}
		return err
	}
}

// directoryProbe requires the directory to be there. It is not created: one that is missing is most likely not mounted, and
// images would be written where only this machine sees them.
func directoryProbe(dir string) func(context.Context, bool) error {
	return func(context.Context, bool) error {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("directory %s does not exist: mount or create it", dir)
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
}

// azureProbe lists one blob, and creates the container if it is missing.
func azureProbe(parameters configuration.Parameters) (func(context.Context, bool) error, error) {
	params, err := azure.NewParameters(parameters)
	if err != nil {
		return nil, fmt.Errorf("storage.azure: %w", err)
	}
	client, err := azureClient(params)
	if err != nil {
		return nil, fmt.Errorf("storage.azure: %w", err)
	}
	one := int32(1)
	return func(ctx context.Context, create bool) error {
		_, err := client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{MaxResults: &one}).NextPage(ctx)
		if err == nil {
			return nil
		}
		if !bloberror.HasCode(err, bloberror.ContainerNotFound) {
			return errors.New(azureReason(params, err))
		}
		if !create {
			return fmt.Errorf("container %s of account %s does not exist: create it, or restart the registry, which does",
				params.Container, params.AccountName)
		}
		if _, err := client.Create(ctx, nil); err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
			return fmt.Errorf("cannot create container %s: %s", params.Container, azureReason(params, err))
		}
		return nil
	}, nil
}

// azureClient returns a client that does not retry: the next probe does.
func azureClient(params *azure.DriverParameters) (*container.Client, error) {
	options := &azblob.ClientOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}}
	var client *azblob.Client
	switch params.Credentials.Type {
	case azure.CredentialsTypeSharedKey:
		key, err := azblob.NewSharedKeyCredential(params.AccountName, params.AccountKey)
		if err != nil {
			return nil, errors.New("accountkey is not a key: it is base64, as the portal shows it")
		}
		client, err = azblob.NewClientWithSharedKeyCredential(params.ServiceURL, key, options)
		if err != nil {
			return nil, err
		}
	default:
		token, err := azureToken(params.Credentials)
		if err != nil {
			return nil, err
		}
		if client, err = azblob.NewClient(params.ServiceURL, token, options); err != nil {
			return nil, err
		}
	}
	return client.ServiceClient().NewContainerClient(params.Container), nil
}

func azureToken(c azure.Credentials) (azcore.TokenCredential, error) {
	if c.Type == azure.CredentialsTypeClientSecret {
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.Secret, nil)
	}
	return azidentity.NewDefaultAzureCredential(nil)
}

// azureReason says in one line what went wrong: the SDK's errors are pages.
func azureReason(params *azure.DriverParameters, err error) string {
	var answer *azcore.ResponseError
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden:
		return fmt.Sprintf("%s refuses account %s (%s): check the credentials", params.ServiceURL, params.AccountName, answer.ErrorCode)
	case errors.As(err, &answer):
		return fmt.Sprintf("%s answers %d %s", params.ServiceURL, answer.StatusCode, answer.ErrorCode)
	case errors.Is(err, context.DeadlineExceeded):
		return params.ServiceURL + " does not answer"
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}
