"""A thin library for speech deepfake detection with a scalable AASIST; the numbered notebooks tell its story."""

__version__ = "0.1.0"
