//! Dev-only: throwaway host and container namespaces, bundles, `requires`.
