//! Dev-only: throwaway host and container namespaces, bundles, `requires`.

pub mod network; // a host and containers as network namespaces, and plugins run between them
